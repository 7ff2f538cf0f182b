import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { RefreshEvent } from '../broker/events.ts'

/** What a span or a measurement says of itself. */
export type RefreshAttributes = Record<string, string | number>

/** The part of a span of `@opentelemetry/api` that is used. */
export interface RefreshSpan {
  /** At `time`, Unix milliseconds. */
  addEvent(name: string, time: number): unknown
  /** Adds to what it says. */
  setAttributes(attributes: RefreshAttributes): unknown
  /** How it ended. */
  setStatus(status: { code: number; message?: string }): unknown
  /** Ends it at `time`, Unix milliseconds. */
  end(time: number): void
}

/** The part of a `Tracer` of `@opentelemetry/api` that is used. */
export interface RefreshTracer {
  /** Begins a span. `startTime`: Unix milliseconds. */
  startSpan(name: string, options: { kind: number; startTime: number; attributes: RefreshAttributes }): RefreshSpan
}

/** The part of a `Meter` of `@opentelemetry/api` that is used. */
export interface RefreshMeter {
  /** A metric that only grows. */
  createCounter(
    name: string,
    options: { unit: string; description: string },
  ): {
    /** Counts. */
    add(value: number, attributes: RefreshAttributes): void
  }
  /** A metric of durations. */
  createHistogram(
    name: string,
    options: { unit: string; description: string },
  ): {
    /** Measures. */
    record(value: number, attributes: RefreshAttributes): void
  }
}

/** Where refreshes are to be seen. */
export interface ObserveOptions {
  /** `trace.getTracer('authkeep')` */
  readonly tracer?: RefreshTracer
  /** `metrics.getMeter('authkeep')` */
  readonly meter?: RefreshMeter
  /** Whether spans name the account, which may be an address; default false. Metrics never do. */
  readonly accounts?: boolean
}

// Of `@opentelemetry/api`, which is not imported for two numbers.
const spanKindClient = 2
const statusError = 2

/** How a refresh ends. */
const ends: ReadonlySet<RefreshEvent['type']> = new Set([
  ...(['served', 'unspent', 'ambiguous', 'refused', 'invalid', 'overtaken'] as const),
])
/** What ends well, or has changed nothing because somebody else was first. */
const isWell = (type: RefreshEvent['type']): boolean => type === 'served' || type === 'overtaken'

/**
 * Refreshes as OpenTelemetry sees them, for every broker of this process: a span `authkeep.refresh` from the claim to its
 * end, with `sent` and `stored` as its events; a counter `authkeep.refreshes` and a histogram
 * `authkeep.refresh.duration`, both by provider and outcome. Refresh tokens are named by fingerprint; nothing is secret.
 * Costs nothing until it is called, and next to nothing while no token is refreshed.
 *
 * @returns what ends it
 */
export function observeRefreshes({ tracer, meter, accounts = false }: ObserveOptions): () => void {
  const open = new Map<string, { readonly span: RefreshSpan | undefined; readonly since: number }>()
  const count = meter?.createCounter('authkeep.refreshes', {
    ...{ unit: '{refresh}', description: 'Refreshes, by how they ended.' },
  })
  const duration = meter?.createHistogram('authkeep.refresh.duration', {
    ...{ unit: 's', description: 'From the claim on the refresh token to the end.' },
  })

  const begin = (name: string, { provider, account, at, generation, token }: RefreshEvent): void => {
    const who = accounts ? { 'authkeep.account': account } : {}
    const what = token === null ? {} : { 'authkeep.refresh_token.fingerprint': token }
    const attributes = { 'authkeep.provider': provider, 'authkeep.generation': generation, ...who, ...what }
    open.set(name, {
      span: tracer?.startSpan('authkeep.refresh', { kind: spanKindClient, startTime: at, attributes }),
      since: at,
    })
  }

  const finish = (name: string, { type, provider, at, cause }: RefreshEvent): void => {
    const begun = open.get(name)
    // What was given back is said to be overtaken as well: it has ended already.
    if (begun === undefined) return
    const { span, since } = begun
    open.delete(name)
    span?.setAttributes({ 'authkeep.outcome': type, ...(cause === undefined ? {} : { 'error.type': cause }) })
    if (!isWell(type)) span?.setStatus({ code: statusError, message: type })
    span?.end(at)
    const attributes = { 'authkeep.provider': provider, 'authkeep.outcome': type }
    count?.add(1, attributes)
    duration?.record(Math.max(0, at - since) / 1_000, attributes)
  }

  const hear = (message: unknown): void => {
    const event = message as RefreshEvent
    const name = `${event.provider}:${event.account} ${event.token ?? ''}`
    if (event.type === 'claimed') begin(name, event)
    else if (ends.has(event.type)) finish(name, event)
    else open.get(name)?.span?.addEvent(event.type, event.at)
  }

  subscribe('authkeep', hear)
  return () => {
    unsubscribe('authkeep', hear)
    for (const { span } of open.values()) span?.end(Date.now())
    open.clear()
  }
}
