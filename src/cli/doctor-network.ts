import { isAuthkeepError } from '../errors.ts'
import { discover } from '../grant/discovery.ts'
import type { Provider } from '../provider.ts'
import { loadProviders } from '../provider-files.ts'
import type { Check } from './doctor.ts'
import { durationInWords } from './output.ts'

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

/** Whether the provider files can be used, the way to each of their servers, and what those say of our clock. */
export async function checkProviders(directory: string, isOffline: boolean): Promise<readonly Check[]> {
  const { providers, problems } = await loadProviders(directory, { full: true })
  const files: Check[] = [
    { name: 'providers', ok: problems.length === 0, finding: `${providers.length} can be used` },
    ...problems.map(({ message }) => ({ name: 'providers', ok: false, finding: message })),
  ]
  if (isOffline || providers.length === 0) return files
  const sightings = await Promise.all(providers.map(see))
  return [...files, ...sightings.map(({ check }) => check), ...checkClock(sightings)]
}

/** One GET or HEAD, without any credential. */
async function see(provider: Provider): Promise<Sighting> {
  let skewMs: number | undefined
  const timed: typeof fetch = async (input, init) => {
    const sentAt = Date.now()
    const response = await fetch(input, init)
    const date = Date.parse(response.headers.get('date') ?? '')
    // The header is cut to the second, and was written somewhere between request and answer.
    if (!Number.isNaN(date)) skewMs = date + 500 - (sentAt + Date.now()) / 2
    return response
  }
  const startedAt = performance.now()
  const name = 'network'
  const signal = AbortSignal.timeout(timeoutMs)
  const server = new URL(provider.metadata?.token_endpoint ?? provider.issuer).host
  try {
    if (provider.metadata?.token_endpoint === undefined) await discover(provider, { fetch: timed, signal })
    else await timed(provider.metadata.token_endpoint, { method: 'HEAD', redirect: 'manual', signal })
    const finding = `${provider.id}: ${server} answers in ${Math.round(performance.now() - startedAt)} ms`
    return { check: { name, ok: true, finding }, ...(skewMs === undefined ? {} : { skewMs }) }
  } catch (error) {
    return { check: { name, ok: false, finding: `${provider.id}: ${server} ${complaintOf(error)}` } }
  }
}

function complaintOf(error: unknown): string {
  if (isAuthkeepError(error)) return `answers, but: ${error.message}`
  const { name, cause } = error as Error
  if (name === 'TimeoutError') return `has not answered in ${timeoutMs / 1_000} s`
  const { code } = (cause ?? {}) as { code?: unknown }
  return `cannot be reached: ${typeof code === 'string' ? code : name}`
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
export function checkProxy(env: Readonly<Record<string, string | undefined>>): readonly Check[] {
  const found = ['https_proxy', 'HTTPS_PROXY', 'http_proxy', 'HTTP_PROXY'].find((name) => (env[name] ?? '') !== '')
  if (found === undefined) return []
  const value = env[found] ?? ''
  if (!URL.canParse(value)) return [{ name: 'proxy', ok: false, finding: `${found} is not the address of a proxy` }]
  return [{ name: 'proxy', ok: true, finding: `${found} sends requests through ${new URL(value).host}` }]
}
