import { isAuthkeepError, unreachedBecause } from '../errors.ts'
import { classifyFailure } from '../grant/classify.ts'
import { discover } from '../grant/discovery.ts'
import type { Provider } from '../provider.ts'
import { loadProviders } from '../provider-files.ts'
import { isUntrusted, trustIt } from './advice.ts'
import { type Context, UsageError } from './context.ts'
import type { Check } from './doctor.ts'
import { providersPath } from './open-home.ts'
import { durationInWords } from './output.ts'
import { openWeb, proxyIn, type Web } from './proxy.ts'

/** A server that takes longer is of no use to a login either. */
const timeoutMs = 10_000
/** Servers commonly allow five minutes; a token of that lifetime is useless with a clock as wrong as that. */
const tolerableSkewMs = 60_000

/** What was seen of one authorization server. */
interface Sighting {
  readonly check: Check
  /** How far the server's clock is ahead of ours, where it told its time. */
  readonly skewMs?: number
}

/** The proxy, whether the provider files can be used, the way to their servers, and what those say of our clock. */
export async function checkSurroundings({ home, env, options }: Context): Promise<readonly Check[]> {
  const { providers, problems } = await loadProviders(providersPath(home), { full: true })
  const files: Check[] = [
    { name: 'providers', ok: problems.length === 0, finding: `${providers.length} can be used` },
    ...problems.map(({ message }) => ({ name: 'providers', ok: false, finding: message })),
  ]
  const [proxy] = checkProxy(env)
  const checks = proxy === undefined ? files : [proxy, ...files]
  if (options['offline'] === true || providers.length === 0 || proxy?.ok === false) return checks
  const web = openWeb(env)
  try {
    const sightings = await Promise.all(providers.map((provider) => see(provider, web)))
    return [...checks, ...sightings.map(({ check }) => check), ...checkClock(sightings)]
  } finally {
    await web.close()
  }
}

/** One GET or HEAD, without any credential. */
async function see(provider: Provider, web: Web): Promise<Sighting> {
  let skewMs: number | undefined
  const timed: typeof fetch = async (input, init) => {
    const sentAt = Date.now()
    const response = await web.fetch(input, init)
    const date = Date.parse(response.headers.get('date') ?? '')
    // The header is cut to the second, and was written somewhere between request and answer.
    if (!Number.isNaN(date)) skewMs = date + 500 - (sentAt + Date.now()) / 2
    return response
  }
  const startedAt = performance.now()
  const name = 'network'
  const signal = AbortSignal.timeout(timeoutMs)
  const address = provider.metadata?.token_endpoint ?? provider.issuer
  const server = new URL(address).host
  try {
    if (provider.metadata?.token_endpoint === undefined) await discover(provider, { fetch: timed, signal })
    else await timed(provider.metadata.token_endpoint, { method: 'HEAD', redirect: 'manual', signal })
    const ms = Math.round(performance.now() - startedAt)
    const proxy = web.proxyTo(address)
    const through = proxy === undefined ? '' : `, through the proxy ${proxy}`
    const finding = `${provider.id}: ${server} answers in ${ms} ms${through}`
    return { check: { name, ok: true, finding }, ...(skewMs === undefined ? {} : { skewMs }) }
  } catch (error) {
    return { check: { name, ok: false, finding: `${provider.id}: ${server} ${complaintOf(error)}` } }
  }
}

function complaintOf(error: unknown): string {
  const isAway = isAuthkeepError(error, 'server_unavailable') && error.detail.status === undefined
  if (isAuthkeepError(error) && !isAway) return `answers, but: ${error.message}`
  const failure = isAway ? error.detail : classifyFailure(error)
  if (failure.cause === 'timeout') return `has not answered in ${timeoutMs / 1_000} s`
  const why = `cannot be reached: ${unreachedBecause(failure)}`
  return isUntrusted(failure.cause) ? `${why}; if you trust it, ${trustIt}` : why
}

/** Our clock is wrong only if every server thinks so. */
function checkClock(sightings: readonly Sighting[]): readonly Check[] {
  const skews = sightings.flatMap(({ skewMs }) => skewMs ?? []).sort((a, b) => Math.abs(a) - Math.abs(b))
  const [least] = skews
  if (least === undefined) return []
  const ok = Math.abs(least) <= tolerableSkewMs
  const side = least > 0 ? 'behind' : 'ahead of'
  const finding = ok
    ? 'agrees with the servers'
    : `is ${durationInWords(Math.abs(least))} ${side} the servers; tokens look older or younger than they are`
  return [{ name: 'clock', ok, finding }]
}

/** The proxy that requests go through, without the password that its address may hold. */
function checkProxy(env: Context['env']): readonly Check[] {
  try {
    const proxy = proxyIn(env)
    if (proxy === null) return []
    return [{ name: 'proxy', ok: true, finding: `${proxy.variable} sends requests through ${proxy.name}` }]
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    return [{ name: 'proxy', ok: false, finding: error.message }]
  }
}
