import { spawn } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { completeLogin, type RobotOptions } from '../../examples/server/robot.ts'
import { type Stage, setStage } from '../broker/stage.ts'

const script = fileURLToPath(new URL('../../build/examples/onboarding.js', import.meta.url))

let stage: Stage
let files: readonly string[]
beforeEach(async () => {
  stage = await setStage()
  files = await Promise.all(
    ['first', 'second'].map(async (id) => {
      const path = join(stage.directory, `${id}.json`)
      await writeFile(path, JSON.stringify({ ...stage.provider, id }))
      return path
    }),
  )
})
afterEach(() => stage.stop())

/** Runs the program, and does what is given at each address that it shows; its exit code, and the rest that it says. */
async function onboard(
  ...people: ReadonlyArray<RobotOptions | ((stop: (signal: NodeJS.Signals) => void) => void)>
): Promise<{ code: number | null; said: readonly string[] }> {
  const env = { PATH: process.env['PATH'] ?? '', AUTHKEEP_HOME: stage.directory }
  const child = spawn(process.execPath, [script, '--no-browser', ...files], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  const said: string[] = []
  let next = 0
  const listen = (input: NodeJS.ReadableStream): void => {
    createInterface({ input }).on('line', (line) => {
      const address = /^Open (.*)$/.exec(line)?.[1]
      if (address === undefined) return void said.push(line)
      const person = people[next++]
      if (typeof person === 'function') person((signal) => child.kill(signal))
      else void completeLogin(new URL(address), person)
    })
  }
  listen(child.stdout)
  listen(child.stderr)
  return { code: await ended, said }
}

const logins = async (): Promise<readonly string[]> =>
  (await stage.store.list()).map(({ provider, account }) => `${provider}:${account}`).sort()

describe('examples/onboarding.ts', () => {
  it('sets up all that is missing, and asks nobody the second time', async () => {
    await stage.login()
    expect(await onboard({}, {})).toEqual({ code: 0, said: ['first:default is set up.', 'second:default is set up.'] })
    expect(await logins()).toEqual(['demo:default', 'first:default', 'second:default'])
    const { token } = stage.server.counts()
    expect(await onboard()).toEqual({ code: 0, said: ['Everything is set up.'] })
    expect(stage.server.counts().token).toEqual(token)
  })

  it('changes nothing when the second login is denied, and gives the first one back', async () => {
    const { code, said } = await onboard({}, { deny: true })
    expect({ code, last: said.at(-1) }).toEqual({ code: 1, last: 'Nothing was changed.' })
    expect(said[0]).toMatch(/denied/)
    expect(await logins()).toEqual([])
    expect(stage.server.counts()).toMatchObject({ token: { authorization_code: 1 }, revoked: 1 })
  })

  it('changes nothing at Ctrl-C', async () => {
    await stage.login()
    const before = await readFile(stage.path, 'utf8')
    const { code, said } = await onboard({}, (stop) => stop('SIGINT'))
    expect({ code, said }).toEqual({ code: 2, said: ['Stopped.', 'Nothing was changed.'] })
    expect(await readFile(stage.path, 'utf8')).toBe(before)
  })
})
