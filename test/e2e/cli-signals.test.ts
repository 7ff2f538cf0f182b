import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { saveProvider } from '../../src/provider-files.ts'
import { type Stage, setStage } from '../broker/stage.ts'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

let stage: Stage
beforeEach(async () => {
  stage = await setStage()
  await stage.login()
  await saveProvider(join(stage.directory, 'providers'), stage.provider, { replace: false })
  stage.server.reset()
})
afterEach(() => stage.stop())

test.each(['SIGINT', 'SIGTERM'] as const)(
  '%s during a refresh: it is finished and saved, and nobody is logged out',
  async (signal) => {
    await stage.expire()
    const { generation } = (await stage.credential()).grant
    stage.server.fault({ slowMs: 1_000 })
    const child = spawn(process.execPath, [main, 'token', stage.urls.files, '--home', stage.directory], {
      stdio: 'ignore',
    })
    const ended = once(child, 'exit')
    while ((await stage.credential()).lease?.sentAt == null) {
      await stage.store.waitForChange({ provider: 'demo', account: 'default' }, await stage.credential(), {
        timeoutMs: 5_000,
      })
    }
    child.kill(signal)
    expect(await ended).toEqual([2, null])
    const after = await stage.credential()
    expect([after.grant.generation, after.lease, after.grant.state]).toEqual([generation + 1, null, 'live'])
    expect((await stage.broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
    expect(stage.server.counts()).toMatchObject({ token: { refresh_token: 1 }, reuse: 0 })
  },
)
