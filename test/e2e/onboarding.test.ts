import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Secret } from '../../src/credential.ts'
import { openStore } from '../../src/store/store.ts'
import { Worker } from './process.ts'

const provider = { id: 'acme', issuer: 'https://as.example', client: { id: 'cli' } }
const before = ['a', 'b', 'c', 'd', 'e']
const added = ['x', 'y', 'z']
const kills = 50
const lanes = 5

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'authkeep-onboarding-'))
})
afterEach(() => rm(directory, { recursive: true }))

/** A store with five entries, the path of its file. */
async function five(name: string): Promise<string> {
  const path = join(directory, name, 'auth.json')
  const store = await openStore({ path })
  const keys = before.map((account) => ({ provider: 'acme', account }))
  await store.updateAll(
    keys,
    () => new Map(keys.map((key) => [`acme:${key.account}`, { type: 'api_key', ...key, key: new Secret('sk') }])),
  )
  await store.close()
  return path
}

async function accountsIn(path: string): Promise<readonly string[]> {
  const store = await openStore({ path })
  const infos = await store.list()
  await store.close()
  return infos.map(({ account }) => account).sort()
}

const counts = { 5: 0, 8: 0 }
/** How often a kill came while the logins were obtained, while they were committed, and after that. */
const phases = { logins: 0, commit: 0, after: 0 }

it.each(Array.from({ length: lanes }, (_, lane) => lane))(
  `an onboarding of three that is killed has added all or none to the five (${kills} kills, lane %s)`,
  async (lane) => {
    const timing = new Worker('./onboarder.mjs', { path: await five('timing'), provider })
    await timing.next()
    const { commits } = (await timing.next()) as { commits: number }
    const { done } = (await timing.next()) as { done: number }
    await timing.end()
    for (let kill = lane; kill < kills; kill += lanes) {
      const path = await five(`kill-${kill}`)
      const worker = new Worker('./onboarder.mjs', { path, provider })
      await worker.next()
      // Spread over the whole of it; every other one over the commit alone and a little more, from where it begins.
      const inCommit = kill % 2 === 1
      if (inCommit) await worker.next()
      const after = ((kill + Math.random()) / kills) * (inCommit ? (done - commits) * 1.3 : done)
      await new Promise((resolve) => setTimeout(resolve, after))
      await worker.kill()
      // What it said before it died.
      let said = inCommit ? 1 : 0
      while (await worker.next().then(Boolean, () => false)) said++
      phases[said === 0 ? 'logins' : said === 1 ? 'commit' : 'after']++
      const accounts = await accountsIn(path)
      expect(accounts).toEqual(accounts.length === before.length ? before : [...before, ...added])
      counts[accounts.length as 5 | 8]++
    }
  },
)

it('both have happened', () => {
  expect(counts[5] + counts[8]).toBe(kills)
  expect(Math.min(counts[5], counts[8])).toBeGreaterThan(0)
  expect(phases.logins + phases.commit + phases.after).toBe(kills)
  expect(phases.logins, JSON.stringify(phases)).toBeGreaterThan(0)
  expect(phases.commit, JSON.stringify(phases)).toBeGreaterThan(4)
})
