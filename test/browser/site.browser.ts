import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const built = fileURLToPath(new URL('../../site/build/site/', import.meta.url))
/** Kept by the run for people to look at; ignored by git. */
const screenshots = fileURLToPath(new URL('../screenshots/', import.meta.url))
const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
}

let server: Server
let browser: Browser
let origin: string

// Needs `npm run docs` first, which `npm run test:browser` does.
describe('the site of the documentation, in Chromium', () => {
  beforeAll(async () => {
    mkdirSync(screenshots, { recursive: true })
    expect(existsSync(join(built, 'index.html')), 'build first: npm run docs').toBe(true)
    server = createServer((request, response) => {
      const { pathname } = new URL(request.url ?? '/', 'http://localhost')
      const path = join(built, decodeURIComponent(pathname.endsWith('/') ? `${pathname}index.html` : pathname))
      if (!existsSync(path) || !statSync(path).isFile()) return response.writeHead(404).end()
      response.setHeader('content-type', types[extname(path)] ?? 'application/octet-stream')
      return response.end(readFileSync(path))
    })
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    // Root has no sandbox to give; all that is visited here is our own.
    browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] })
  })
  afterAll(async () => {
    await browser.close()
    server.close()
  })

  /** A new browser at a page, and what it has complained of since. */
  async function visit(
    path: string,
    { width = 1280, colorScheme = 'light' }: { width?: number; colorScheme?: 'light' | 'dark' } = {},
  ): Promise<{ readonly page: Page; readonly complaints: readonly string[] }> {
    const context = await browser.newContext({ colorScheme, viewport: { width, height: 900 } })
    const page = await context.newPage()
    const complaints: string[] = []
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text())
    })
    page.on('pageerror', (error) => complaints.push(error.message))
    page.on('response', (response) => {
      if (!response.ok()) complaints.push(`${response.status()} ${response.url()}`)
    })
    page.on('request', (request) => {
      if (new URL(request.url()).origin !== origin) complaints.push(`asks ${request.url()}`)
    })
    await page.goto(origin + path, { waitUntil: 'networkidle' })
    return { page, complaints }
  }

  const looked = ['/', '/docs/reliability.html', '/docs/concepts.html', '/api/authkeep/classes/TokenBroker.html']

  it.each(
    looked.flatMap((path) =>
      [1280, 390].flatMap((width) => (['light', 'dark'] as const).map((colorScheme) => ({ path, width, colorScheme }))),
    ),
  )('$path fits into $width px ($colorScheme) and complains of nothing', async ({ path, width, colorScheme }) => {
    const { page, complaints } = await visit(path, { width, colorScheme })
    const name = path.replaceAll(/\W+/g, '-').replace(/^-(html)?/, '') || 'front'
    await page.screenshot({ path: `${screenshots}site-${name}-${width}-${colorScheme}.png` })
    expect(await page.locator('h1').count()).toBe(1)
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width)
    const ground = await page.evaluate<string>('getComputedStyle(document.body).backgroundColor')
    expect(ground === 'rgb(255, 255, 255)').toBe(colorScheme === 'light')
    expect(complaints).toEqual([])
    await page.context().close()
  })

  it('finds a page by a word that is in it', async () => {
    const { page, complaints } = await visit('/')
    await page.getByRole('button', { name: 'Search' }).click()
    await page.getByRole('searchbox').fill('lease')
    const results = page.getByRole('option')
    await results.first().waitFor()
    await page.screenshot({ path: `${screenshots}site-search.png` })
    await results.first().click()
    await page.waitForURL((url) => url.pathname !== '/')
    await page.locator('main h1').waitFor()
    expect((await page.locator('main').innerText()).toLowerCase()).toContain('lease')
    expect(complaints).toEqual([])
    await page.context().close()
  })

  it('has a place for every link within it, down to the anchor', async () => {
    const page = await browser.newPage({ javaScriptEnabled: false })
    const documents = readdirSync(built, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.html'))
    const anchors = new Map<string, ReadonlySet<string>>()
    const links = new Map<string, string>()
    for (const path of documents) {
      await page.goto(`${origin}/${path}`, { waitUntil: 'commit' })
      await page.waitForLoadState('domcontentloaded')
      const found = await page.evaluate<{ ids: string[]; hrefs: string[] }>(
        `({ ids: [...document.querySelectorAll('[id]')].map(({ id }) => id),
            hrefs: [...document.querySelectorAll('a[href]')].map(({ href }) => href) })`,
      )
      anchors.set(`/${path}`, new Set(found.ids))
      for (const href of found.hrefs) if (href.startsWith(origin)) links.set(href, path)
    }
    const dead = [...links].filter(([href]) => {
      const { pathname, hash } = new URL(href)
      const ids = anchors.get(decodeURIComponent(pathname.replace(/\/$/, '/index.html')))
      return ids === undefined || (hash !== '' && !ids.has(decodeURIComponent(hash.slice(1))))
    })
    expect(links.size).toBeGreaterThan(200)
    expect(dead.map(([href, on]) => `${on} → ${href.slice(origin.length)}`)).toEqual([])
    await page.close()
  }, 120_000)
})
