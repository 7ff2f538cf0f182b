import type { CookieJar } from 'tough-cookie'
import { type Endpoint, matchEndpoint } from '../endpoint.ts'
import type { Provider } from '../provider.ts'

/** Of what a server sets: so long, so many at one place, and so many places. What is older gives way. */
const longest = 4_096
const mostCookies = 32
const mostJars = 64

/**
 * The cookies that endpoints declare to be kept (`cookies`), in memory and nowhere else. Each endpoint has a jar for
 * every origin it is at, so that none goes to another host, whatever its `Domain` says. RFC 6265 is tough-cookie's,
 * which is loaded for an endpoint that declares any.
 */
export class EdgeCookies {
  readonly #jars = new Map<string, CookieJar>()

  /** Adds what is kept for a URL to the headers of a request. A cookie that the caller sends itself goes first. */
  async attach(provider: Provider, url: string, headers: Headers): Promise<void> {
    const jar = this.#jars.get(placeOf(provider, url)?.name ?? '')
    if (jar === undefined) return
    const own = headers.get('cookie')
    const named = new Set(own?.split(';').map((pair) => pair.split('=', 1)[0]?.trim()))
    const kept = (await jar.getCookies(url)).filter(({ key }) => !named.has(key)).map((cookie) => cookie.cookieString())
    if (kept.length > 0) headers.set('cookie', [...(own === null ? [] : [own]), ...kept].join('; '))
  }

  /** Keeps what an answer sets, of what its endpoint declares. */
  async keep(provider: Provider, url: string, headers: Headers): Promise<void> {
    const set = headers.getSetCookie().filter((line) => line.length <= longest)
    const place = set.length === 0 ? undefined : placeOf(provider, url)
    if (place === undefined) return
    const { Cookie, CookieJar } = await import('tough-cookie')
    const cookies = set.flatMap((line) => Cookie.parse(line) ?? []).filter(({ key }) => isNamed(key, place.cookies))
    if (cookies.length === 0) return
    const jar = this.#jars.get(place.name) ?? new CookieJar()
    this.#jars.delete(place.name)
    this.#jars.set(place.name, jar)
    for (const name of [...this.#jars.keys()].slice(0, -mostJars)) this.#jars.delete(name)
    for (const cookie of cookies) await jar.setCookie(cookie, url, { ignoreError: true })
    for (const { domain, path, key } of (await jar.store.getAllCookies()).slice(0, -mostCookies)) {
      await jar.store.removeCookie(domain, path, key)
    }
  }
}

/** The endpoint at a URL, if it declares cookies, and a name for its jar. */
function placeOf(
  { id, endpoints = [] }: Provider,
  spelling: string,
): { readonly name: string; readonly cookies: NonNullable<Endpoint['cookies']> } | undefined {
  const url = new URL(spelling)
  const endpoint = matchEndpoint(endpoints, url)
  if (endpoint?.cookies === undefined) return undefined
  return { name: JSON.stringify([id, endpoint.url, url.origin]), cookies: endpoint.cookies }
}

function isNamed(name: string, declared: readonly string[]): boolean {
  return declared.some((each) => (each.endsWith('*') ? name.startsWith(each.slice(0, -1)) : name === each))
}
