/** How the robot behaves at the forms it is shown. */
export interface RobotOptions {
  /** Who logs in; default `alice`. */
  readonly login?: string
  /** Clicks "Deny" at the consent form. */
  readonly deny?: boolean
  /** Scopes whose box it clears at the consent form. */
  readonly scopesToReject?: readonly string[]
  /** Its browser's way to the network. */
  readonly fetch?: typeof fetch
}

/** The last page that a person would see: the answer of the client's own redirect address. */
export interface FinalPage {
  readonly url: URL
  readonly status: number
  readonly html: string
}

/**
 * A robot person: opens an authorization URL, fills in whatever login and consent forms it is shown, keeps cookies,
 * and follows redirects up to and including the one that leaves the authorization server.
 */
export async function completeLogin(start: URL, options: RobotOptions = {}): Promise<FinalPage> {
  const last = await walk(start, options)
  if (!(last instanceof URL)) return last
  const response = await (options.fetch ?? fetch)(last, { redirect: 'manual' })
  return { url: last, status: response.status, html: await response.text() }
}

/** The same with a browser on another machine: where it is sent when it leaves the authorization server. */
export async function redirectAway(start: URL, options: RobotOptions = {}): Promise<URL> {
  const last = await walk(start, options)
  if (last instanceof URL) return last
  throw new Error(`the login ended at ${last.url.href}`)
}

/** As far as the redirect that leaves the authorization server, or the page where the server gave up. */
async function walk(start: URL, options: RobotOptions): Promise<URL | FinalPage> {
  const cookies = new Map<string, string>()
  let url = start
  let form: URLSearchParams | undefined
  for (let step = 0; step < 20; step++) {
    const response = await (options.fetch ?? fetch)(url, {
      redirect: 'manual',
      headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') },
      ...(form === undefined ? {} : { method: 'POST', body: form }),
    })
    form = undefined
    const html = await response.text()
    keepCookies(cookies, response.headers.getSetCookie())
    const location = response.headers.get('location')
    if (location !== null) {
      url = new URL(location, url)
      if (url.origin !== start.origin) return url
      continue
    }
    const next = fillIn(html, url, options)
    // A page without a form is where the server gave up; a person would be looking at it now.
    if (next === null) return { url, status: response.status, html }
    ;({ url, form } = next)
  }
  throw new Error('the login goes round in circles')
}

function keepCookies(cookies: Map<string, string>, lines: readonly string[]): void {
  for (const line of lines) {
    const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
    if (value === '') cookies.delete(name)
    else cookies.set(name, value)
  }
}

function fillIn(html: string, base: URL, options: RobotOptions): { url: URL; form: URLSearchParams } | null {
  const [, attributes = '', content = ''] = /<form\b([^>]*)>([\s\S]*?)<\/form>/.exec(html) ?? []
  const action = attribute(attributes, 'action')
  if (action === null) return null
  const form = new URLSearchParams()
  let isLogin = false
  for (const [, input = ''] of content.matchAll(/<input\b([^>]*)>/g)) {
    const name = attribute(input, 'name') ?? ''
    const type = attribute(input, 'type') ?? 'text'
    const value = attribute(input, 'value') ?? ''
    if (type === 'checkbox') {
      if (/\bchecked\b/.test(input) && options.scopesToReject?.includes(value) !== true) form.append(name, value)
    } else if (type === 'password') {
      isLogin = true
      form.append(name, 'correct horse')
    } else if (type === 'hidden') {
      form.append(name, value)
    } else {
      form.append(name, options.login ?? 'alice')
    }
  }
  const wanted = options.deny === true && !isLogin ? 'deny' : undefined
  const buttons = [...content.matchAll(/<button\b([^>]*)>/g)].map(([, button = '']) => button)
  const button = buttons.find((each) => wanted === undefined || attribute(each, 'value') === wanted) ?? ''
  form.append(attribute(button, 'name') ?? '', attribute(button, 'value') ?? '')
  return { url: new URL(action, base), form }
}

function attribute(attributes: string, name: string): string | null {
  const value = new RegExp(`\\b${name}="([^"]*)"`).exec(attributes)?.[1]
  return value?.replace(/&#(\d+);/g, (_, code: string) => String.fromCharCode(Number(code))) ?? null
}
