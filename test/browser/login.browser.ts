import { mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../../examples/server/authorization-server.ts'
import { demoProvider } from '../../examples/server/demo-provider.ts'
import { AuthkeepError, isAuthkeepError } from '../../src/errors.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import { grantRequest } from '../grant/setup.ts'

/** Kept by the run for people to look at; ignored by git. */
const screenshots = fileURLToPath(new URL('../screenshots/', import.meta.url))

let server: AuthorizationServer
let browser: Browser

// A browser of the system and several seconds: run by `npm run test:browser`.
describe('in Chromium', () => {
  beforeAll(async () => {
    mkdirSync(screenshots, { recursive: true })
    server = await startAuthorizationServer()
    // Root has no sandbox to give; all that is visited here is our own.
    browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] })
  })
  afterAll(async () => {
    await browser.close()
    await server.stop()
  })

  interface Seen {
    readonly page: Page
    /** What the login brought: the person, or the reason why not. */
    readonly outcome: string | null
    /** What the browser has said about our page, violations of its policy among it. */
    readonly complaints: readonly string[]
    /** Requests to anything but the authorization server and the page itself. */
    readonly elsewhere: readonly string[]
  }

  /** A login in a new browser, and the page at which it ended. */
  async function login(
    person: (page: Page, redirectUri: string) => Promise<void>,
    colorScheme: 'light' | 'dark',
    more: Parameters<typeof grantRequest>[1] = {},
  ): Promise<Seen> {
    const context = await browser.newContext({ colorScheme, viewport: { width: 900, height: 560 } })
    const page = await context.newPage()
    const complaints: string[] = []
    const elsewhere: string[] = []
    page.on('console', (message) => {
      if (message.location().url.includes('/callback')) complaints.push(message.text())
    })
    page.on('pageerror', (error) => complaints.push(error.message))
    page.on('request', (request) => {
      const url = new URL(request.url())
      if (url.origin !== server.origin && url.pathname !== '/callback') elsewhere.push(url.href)
    })
    let shown: Promise<void> | undefined
    const flow = loopbackFlow({
      openBrowser: (url) => {
        shown = page.goto(url.href).then(() => person(page, url.searchParams.get('redirect_uri') ?? ''))
        return shown
      },
    })
    const outcome = await flow.run(grantRequest(demoProvider(server), more)).then(
      (answer) => (answer.type === 'oauth' ? answer.token.subject : null),
      (error: unknown) =>
        isAuthkeepError(error, 'authorization_required')
          ? error.detail.reason
          : isAuthkeepError(error)
            ? error.code
            : String(error),
    )
    await shown
    await page.waitForURL(/\/callback\?/)
    return { page, outcome, complaints, elsewhere }
  }

  async function byMouse(page: Page): Promise<void> {
    await page.getByLabel('Name').fill('alice')
    await page.getByLabel('Password').fill('correct horse')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('button', { name: 'Allow' }).click()
  }

  async function byKeyboard(page: Page): Promise<void> {
    const { keyboard } = page
    await page.locator('input[name=login]:focus').waitFor()
    await keyboard.type('alice')
    await keyboard.press('Tab')
    await keyboard.type('correct horse')
    await keyboard.press('Enter')
    await page.getByRole('heading', { name: 'Allow access?' }).waitFor()
    for (let tabs = 0; tabs < 20; tabs++) {
      await keyboard.press('Tab')
      if ((await page.evaluate('document.activeElement.textContent')) === 'Allow') break
    }
    await keyboard.press('Enter')
  }

  async function saysNo(page: Page): Promise<void> {
    await page.getByRole('button', { name: 'Deny' }).click()
  }

  it.each([
    ['by mouse', byMouse, 'light'],
    ['by keyboard', byKeyboard, 'dark'],
  ] as const)('login and consent %s end on the success page', async (_, person, scheme) => {
    const { page, outcome, complaints, elsewhere } = await login(person, scheme)
    expect(outcome).toBe('alice')
    await expectPage(page, 'You are logged in', 'status')
    await page.screenshot({ path: `${screenshots}success-${scheme}.png` })
    expect({ complaints, elsewhere }).toEqual({ complaints: [], elsewhere: [] })
    await page.context().close()
  })

  it.each(['light', 'dark'] as const)('a denial ends on the failure page (%s)', async (scheme) => {
    const { page, outcome } = await login(saysNo, scheme)
    expect(outcome).toBe('denied')
    await expectPage(page, 'The login failed', 'alert')
    await page.screenshot({ path: `${screenshots}denial-${scheme}.png` })
    await page.context().close()
  })

  it.each(['light', 'dark'] as const)('one of several says that nothing is stored yet (%s)', async (scheme) => {
    const more = { account: 'work', part: { number: 1, of: 3 } }
    const { page, outcome } = await login(byMouse, scheme, more)
    expect(outcome).toBe('alice')
    await expectPage(page, 'Login 1 of 3 is done', 'status')
    expect(await page.getByText('Nothing is stored yet').count()).toBe(1)
    await page.screenshot({ path: `${screenshots}part-${scheme}.png` })
    await page.context().close()
  })

  it.each(['light', 'dark'] as const)('the last of several says where nothing could be stored (%s)', async (scheme) => {
    const path = '/home/alice/.config/authkeep/auth.json'
    const full = new AuthkeepError('store_failed', { path, operation: 'write', errno: 'ENOSPC', unspent: true })
    const more = { part: { number: 3, of: 3 }, keep: () => Promise.reject(full) }
    const { page, outcome } = await login(byMouse, scheme, more)
    expect(outcome).toBe('store_failed')
    await expectPage(page, 'The login failed', 'alert')
    expect(await page.getByText('ENOSPC').count()).toBe(1)
    await page.screenshot({ path: `${screenshots}failure-${scheme}.png` })
    await page.context().close()
  })

  it.each(['light', 'dark'] as const)('what is not waited for is told so, and changes nothing (%s)', async (scheme) => {
    const { page, outcome } = await login(async (before, address) => {
      const other = await before.context().newPage()
      await other.goto(`${address}?code=x&state=guess`)
      await expectPage(other, 'Not part of this login', 'alert')
      await other.screenshot({ path: `${screenshots}stray-${scheme}.png` })
      await byMouse(before)
    }, scheme)
    expect(outcome).toBe('alice')
    await page.context().close()
  })

  async function expectPage(page: Page, title: string, role: 'status' | 'alert'): Promise<void> {
    expect(await page.title()).toBe(title)
    expect(await page.locator('html').getAttribute('lang')).toBe('en')
    expect(await page.getByRole('main', { name: title }).count()).toBe(1)
    expect(await page.getByRole(role).getByRole('heading', { level: 1, name: title }).count()).toBe(1)
    expect(await page.getByText(/close this tab/i).count()).toBe(1)
    // A style that the policy had stopped would leave the browser's own colours, and its serifs.
    const contrasts = await page.evaluate<number[]>(contrastScript)
    expect(contrasts).toHaveLength(3)
    expect(Math.min(...contrasts)).toBeGreaterThanOrEqual(7)
    expect(await page.evaluate('getComputedStyle(document.body).display')).toBe('grid')
  }
})

/** Contrast (WCAG 2.2) of the heading and the paragraphs on the ground of the page. */
const contrastScript = `(() => {
  const luminance = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const ground = luminance(getComputedStyle(document.body).backgroundColor)
  return [...document.querySelectorAll('h1,p')].map((each) => {
    const text = luminance(getComputedStyle(each).color)
    return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05)
  })
})()`
