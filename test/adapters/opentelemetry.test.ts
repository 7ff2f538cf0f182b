import { inspect } from 'node:util'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { observeRefreshes } from '../../src/adapters/opentelemetry.ts'
import { type Stage, setStage } from '../broker/stage.ts'

let stage: Stage
let stop: () => void
const spans = new InMemorySpanExporter()
const tracing = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] })
let metrics: InMemoryMetricExporter
let metering: MeterProvider
beforeEach(async () => {
  stage = await setStage()
  await stage.login()
  await stage.expire()
  spans.reset()
  metrics = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter: metrics, exportIntervalMillis: 3_600_000 })
  metering = new MeterProvider({ readers: [reader] })
  stop = observeRefreshes({ tracer: tracing.getTracer('authkeep'), meter: metering.getMeter('authkeep') })
})
afterEach(async () => {
  stop()
  await metering.shutdown()
  await stage.stop()
})

async function pointsOf(name: string): Promise<readonly { attributes: object; value: unknown }[]> {
  await metering.forceFlush()
  const all = metrics.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics))
  return all.filter(({ descriptor }) => descriptor.name === name).at(-1)?.dataPoints ?? []
}

it('a refresh is one span with its steps, and one more in the counter, without a secret', async () => {
  const before = await stage.credential()
  const token = await stage.broker.getToken(stage.urls.files)
  const [span, ...others] = spans.getFinishedSpans()
  expect(others).toEqual([])
  expect(span).toMatchObject({ name: 'authkeep.refresh', kind: 2, status: { code: 0 } })
  expect(span?.attributes).toMatchObject({
    ...{ 'authkeep.provider': 'demo', 'authkeep.outcome': 'served', 'authkeep.generation': 1 },
    'authkeep.refresh_token.fingerprint': expect.stringMatching(/^[\w-]{22}$/) as string,
  })
  expect(span?.attributes).not.toHaveProperty('authkeep.account')
  expect(span?.events.map(({ name }) => name)).toEqual(['sent', 'stored'])
  const attributes = { 'authkeep.provider': 'demo', 'authkeep.outcome': 'served' }
  expect(await pointsOf('authkeep.refreshes')).toMatchObject([{ attributes, value: 1 }])
  expect(await pointsOf('authkeep.refresh.duration')).toMatchObject([{ attributes, value: { count: 1 } }])
  const after = await stage.credential()
  const shown = inspect([spans.getFinishedSpans(), metrics.getMetrics()], { depth: 12, showHidden: true })
  for (const secret of [before.grant.refreshToken, after.grant.refreshToken])
    expect(shown).not.toContain(secret?.reveal())
  expect(shown).not.toContain(token.reveal())
})

it('a refresh that fails is a span in error, by what it came to', async () => {
  stage.server.fault({ status: 400, body: JSON.stringify({ error: 'invalid_grant' }) })
  await expect(stage.broker.getToken(stage.urls.files)).rejects.toMatchObject({ code: 'grant_revoked' })
  expect(spans.getFinishedSpans()).toMatchObject([
    { status: { code: 2, message: 'refused' }, attributes: { 'authkeep.outcome': 'refused' } },
  ])
  expect(await pointsOf('authkeep.refreshes')).toMatchObject([
    { attributes: { 'authkeep.outcome': 'refused' }, value: 1 },
  ])
})

it('hears nothing any more once it is ended', async () => {
  stop()
  await stage.broker.getToken(stage.urls.files)
  expect(spans.getFinishedSpans()).toEqual([])
})
