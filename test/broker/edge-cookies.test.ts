import { afterEach, expect, it } from 'vitest'
import { TokenBroker } from '../../src/broker/broker.ts'
import { type Endpoint, type Provider, Secret } from '../../src/index.ts'
import { expectNoSecret } from '../grant/setup.ts'
import { type Desk, openDesk } from '../providers/simulated.ts'
import { type Answer, type Api, type Arrival, startApi } from './api.ts'
import { startHosts } from './hosts.ts'

const cookies = ['__cf_bm', 'cf_chl_*']
const key = { provider: 'acme', account: 'default' }
const provider = (...endpoints: Endpoint[]): Provider => ({
  ...{ id: 'acme', issuer: 'https://as.example', client: { id: 'cli' }, endpoints },
})

const open: { close?: () => Promise<void>; stop?: () => Promise<void> }[] = []
afterEach(async () => {
  for (const one of open.splice(0)) await (one.close ?? one.stop)?.call(one)
})

/** Sets what the query of a request says, and answers with a status. */
const setting = ({ path }: Arrival): Answer => {
  const { searchParams } = new URL(path, 'http://api')
  const headers = { 'set-cookie': searchParams.getAll('set') }
  const location = searchParams.get('to')
  return location === null ? { status: 200, headers } : { status: 302, headers: { ...headers, location } }
}

async function api(answer: (arrival: Arrival) => Answer = setting): Promise<Api> {
  const started = await startApi(answer)
  open.push(started)
  return started
}

async function desk(...endpoints: Endpoint[]): Promise<Desk> {
  const opened = await openDesk(provider(...endpoints))
  open.push(opened)
  await opened.store.update(key, () => ({ ...key, type: 'token', token: new Secret('t-1'), expiresAt: null }))
  return opened
}

const query = (set: readonly string[], to?: string): string => {
  const parameters = new URLSearchParams(to === undefined ? {} : { to })
  for (const each of set) parameters.append('set', each)
  return `?${parameters.toString()}`
}
const sent = ({ arrivals }: Api): readonly (string | undefined)[] => arrivals.map(({ headers }) => headers.cookie)

it('keeps the cookies that are named, and sends them back', async () => {
  const one = await api()
  const { broker } = await desk({ url: `${one.origin}/*`, cookies })
  await broker.fetch(`${one.origin}/a${query(['__cf_bm=b-1; Path=/; HttpOnly; Secure', 'cf_chl_rc=2', 'session=s-1'])}`)
  await broker.fetch(`${one.origin}/a`)
  expect(sent(one)).toEqual([undefined, '__cf_bm=b-1; cf_chl_rc=2'])
})

it('keeps none where none is named', async () => {
  const one = await api()
  const { broker } = await desk({ url: `${one.origin}/a/*`, cookies }, { url: `${one.origin}/b/*` })
  await broker.fetch(`${one.origin}/b/${query(['__cf_bm=b-1; Path=/'])}`)
  await broker.fetch(`${one.origin}/a/${query(['__cf_bm=b-2; Path=/'])}`)
  await broker.fetch(`${one.origin}/b/`)
  expect(sent(one)).toEqual([undefined, undefined, undefined])
})

it('sends none to another host, endpoint or port', async () => {
  const [one, two] = [await api(), await api()]
  const onName = one.origin.replace('127.0.0.1', 'localhost')
  const urls = [`${one.origin}/a/`, `${one.origin}/b/`, `${two.origin}/`, `${onName}/`]
  const { broker } = await desk(...urls.map((url) => ({ url: `${url}*`, cookies })))
  await broker.fetch(`${one.origin}/a/${query(['__cf_bm=b-1; Path=/'])}`)
  for (const url of urls) await broker.fetch(url)
  expect([...sent(one), ...sent(two)]).toEqual([undefined, '__cf_bm=b-1', undefined, undefined, undefined])
})

it('keeps each to the very host it is from, whatever its Domain, where a pattern is for many', async () => {
  const hosts = await startHosts()
  open.push(hosts)
  const endpoint = { url: 'https://*.acme.test/*', cookies }
  const { store } = await desk(endpoint)
  const broker = new TokenBroker({ store, providers: [provider(endpoint)], fetch: hosts.fetch })
  open.push(broker)
  hosts.answer = () => ({ headers: { 'set-cookie': '__cf_bm=b-1; Domain=acme.test; Path=/; Secure' } })
  await broker.fetch('https://one.acme.test/')
  hosts.answer = () => undefined
  await broker.fetch('https://two.acme.test/')
  await broker.fetch('https://one.acme.test/')
  const sentTo = hosts.visits.map(({ origin, headers }) => [origin, headers.cookie])
  expect(sentTo).toEqual([
    ['https://one.acme.test', undefined],
    ['https://two.acme.test', undefined],
    ['https://one.acme.test', '__cf_bm=b-1'],
  ])
})

it('keeps no cookie of another domain, and none longer than it may be', async () => {
  const one = await api()
  const { broker } = await desk({ url: `${one.origin}/*`, cookies })
  const wrong = ['__cf_bm=1; Domain=example.com', '__cf_bm=2; Domain=0.0.1', `__cf_bm=${'x'.repeat(4_097)}`, '=', ';']
  await broker.fetch(`${one.origin}/a${query(wrong)}`)
  await broker.fetch(`${one.origin}/a`)
  expect(sent(one)).toEqual([undefined, undefined])
})

it('keeps to the path and the end of a cookie', async () => {
  const one = await api()
  const { broker } = await desk({ url: `${one.origin}/*`, cookies })
  const given = [
    'cf_chl_path=1; Path=/deep',
    'cf_chl_old=1; Max-Age=0',
    'cf_chl_gone=1',
    'cf_chl_past=1; Expires=Thu, 01 Jan 1970 00:00:01 GMT',
  ]
  await broker.fetch(`${one.origin}/a${query(given)}`)
  await broker.fetch(`${one.origin}/deep/er`)
  await broker.fetch(`${one.origin}/a${query(['cf_chl_gone=; Max-Age=0'])}`)
  await broker.fetch(`${one.origin}/a`)
  expect(sent(one).slice(1)).toEqual(['cf_chl_path=1; cf_chl_gone=1', 'cf_chl_gone=1', undefined])
})

it('leaves the cookies behind at a redirect to another host', async () => {
  const [one, two] = [await api(), await api()]
  const { broker } = await desk({ url: `${one.origin}/*`, cookies }, { url: `${two.origin}/*`, cookies })
  await broker.fetch(`${two.origin}/${query(['__cf_bm=b-2'])}`)
  await broker.fetch(`${one.origin}/${query(['__cf_bm=b-1'], `${one.origin}/next${query([], `${two.origin}/there`)}`)}`)
  expect(sent(one)).toEqual([undefined, '__cf_bm=b-1'])
  expect(sent(two)).toEqual([undefined, undefined])
})

it('keeps no cookie that the place sets which a redirect to another host leads to', async () => {
  const [one, two] = [await api(), await api()]
  const { broker } = await desk({ url: `${one.origin}/*`, cookies }, { url: `${two.origin}/*`, cookies })
  await broker.fetch(`${one.origin}/${query([], `${two.origin}/${query(['__cf_bm=b-2'])}`)}`)
  await broker.fetch(`${two.origin}/`)
  expect(sent(two)).toEqual([undefined, undefined])
})

it('keeps those of a challenge too, and returns the challenge as it came', async () => {
  const one = await api((arrival) => {
    if (arrival.headers.cookie !== undefined) return { status: 200, body: 'served' }
    const { headers } = setting(arrival)
    return {
      status: 403,
      headers: { ...headers, 'cf-mitigated': 'challenge', 'content-type': 'text/html' },
      body: '<html>',
    }
  })
  const { broker } = await desk({ url: `${one.origin}/*`, cookies })
  const refused = await broker.fetch(`${one.origin}/${query(['__cf_bm=b-1', 'session=s-1'])}`)
  expect([refused.status, await refused.text(), one.arrivals.length]).toEqual([403, '<html>', 1])
  expect((await broker.fetch(`${one.origin}/`)).status).toBe(200)
})

it('keeps and sends them for a service, too', async () => {
  const one = await api()
  const { broker } = await desk({ url: `${one.origin}/*`, cookies, service: 'acme' })
  await broker.fetchService({ service: 'acme' }, `/a${query(['__cf_bm=b-1; Path=/'])}`)
  await broker.fetchService({ service: 'acme' }, '/a')
  expect(sent(one)).toEqual([undefined, '__cf_bm=b-1'])
})

it("leaves the caller's own cookies as they are", async () => {
  const one = await api()
  const { broker } = await desk({ url: `${one.origin}/*`, cookies })
  await broker.fetch(`${one.origin}/${query(['__cf_bm=b-1', 'cf_chl_rc=2'])}`)
  await broker.fetch(`${one.origin}/`, { headers: { cookie: 'mine=1; __cf_bm=own' } })
  expect(sent(one)[1]).toBe('mine=1; __cf_bm=own; cf_chl_rc=2')
})

it('shares nothing between two brokers, and stores and shows nothing', async () => {
  const one = await api()
  const { broker, store } = await desk({ url: `${one.origin}/*`, cookies })
  const other = new TokenBroker({ store, providers: [provider({ url: `${one.origin}/*`, cookies })] })
  open.push(other)
  const before = await store.read(key)
  await broker.fetch(`${one.origin}/${query(['__cf_bm=cookie-value'])}`)
  await other.fetch(`${one.origin}/`)
  await broker.fetch(`${one.origin}/`)
  expect(sent(one)).toEqual([undefined, undefined, '__cf_bm=cookie-value'])
  expect(await store.read(key)).toEqual(before)
  expectNoSecret(broker, ['cookie-value'])
})

it('serves concurrent calls, and keeps what each of them sets', async () => {
  const one = await api()
  const { broker } = await desk({ url: `${one.origin}/*`, cookies })
  const names = Array.from({ length: 20 }, (_, index) => `cf_chl_${index}`)
  await Promise.all(names.map((name) => broker.fetch(`${one.origin}/${query([`${name}=1; Path=/`])}`)))
  await broker.fetch(`${one.origin}/`)
  expect(sent(one).at(-1)?.split('; ').sort()).toEqual(names.map((name) => `${name}=1`).sort())
})

it('keeps no more than so many', async () => {
  const one = await api()
  const { broker } = await desk({ url: `${one.origin}/*`, cookies })
  for (let index = 0; index < 40; index++) await broker.fetch(`${one.origin}/${query([`cf_chl_${index}=1`])}`)
  await broker.fetch(`${one.origin}/`)
  const last = sent(one).at(-1)?.split('; ') ?? []
  expect([last.length, last.includes('cf_chl_39=1'), last.includes('cf_chl_0=1')]).toEqual([32, true, false])
})

it('refuses to keep every cookie there is', () => {
  const make = (): unknown =>
    new TokenBroker({ store: {} as never, providers: [provider({ url: 'https://a.example/*', cookies: ['*'] })] })
  expect(make).toThrow(expect.objectContaining({ code: 'provider_invalid' }) as Error)
})
