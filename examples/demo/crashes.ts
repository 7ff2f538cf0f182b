import { execFile } from 'node:child_process'
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { isDeepStrictEqual, promisify } from 'node:util'
import { type Credential, type CredentialStore, fileBackend, openStore, Secret, type StoreEvent } from 'authkeep'
import { hold, type Scene } from './play.ts'
import { fingerprint } from './secrecy.ts'
import { call, login, type Stage } from './stage.ts'

const neighbours = [
  { provider: 'maps', account: 'default' },
  { provider: 'weather', account: 'default' },
]

/** A lock that its dead holder had not signed is waited out. This long here; 10 s where nothing else is said. */
const staleLockMs = 1_000

/** What was found after a process had been killed at a step of its write. */
interface Aftermath {
  readonly login: 'old' | 'new'
  /** Whether anything said who had held the lock. */
  readonly wasSigned: boolean
  readonly nextWriteMs: number
}

export function killDuringWrite(stage: Stage): Scene {
  return {
    name: 'kill-during-write',
    title: 'A process is killed at every step of a write. Nothing is lost.',
    async play(voice) {
      await stage.visit((store) => addNeighbours(store))
      const expected = await stage.visit((store) => secretsOf(store))
      const steps = await stepsOfOneWrite(stage)
      voice.say(
        'Two API keys join the login in auth.json. Then a process rewrites the login, and asks before each step:',
      )
      voice.quote(steps.join(', '))
      voice.say('For each of them it is killed while it asks (SIGKILL), and auth.json is opened again.')

      const found: Aftermath[] = []
      for (const index of steps.keys()) found.push(await killAndReopen(stage, steps, index, expected))
      const count = (login: 'old' | 'new'): number => found.filter((each) => each.login === login).length
      const signed = found.filter(({ wasSigned }) => wasSigned)
      const unsigned = found.length - signed.length
      const nextWriteMs = Math.round(Math.max(...signed.map((each) => each.nextWriteMs)))
      hold(nextWriteMs < staleLockMs, `the next write took up to ${nextWriteMs} ms`)
      voice.say(
        `${steps.length} kills. The old login was there ${count('old')} times, the new one ${count('new')} times, whole each time. Of the ${expected.size} credentials none was lost.`,
      )
      voice.say(
        `Each time the next write cleared away what the dead process had left, within ${nextWriteMs} ms. In ${unsigned} of the kills nothing said whose lock it was; there it waited out ${staleLockMs / 1_000} s of silence first (10 s unless told otherwise).`,
      )
      const facts = { stepsTried: steps.length, steps, old: count('old'), new: count('new'), lost: 0 }
      return { ...facts, credentials: expected.size, nextWriteMs, unsignedLocks: unsigned, staleLockMs }
    },
  }
}

async function killAndReopen(
  stage: Stage,
  steps: readonly string[],
  index: number,
  expected: ReadonlyMap<string, string | null>,
): Promise<Aftermath> {
  const step = steps[index] ?? ''
  const [before, after] = [`before ${index}`, `after ${index}`]
  await stage.visit((store) => mark(store, before))
  await killAt(stage, steps, index, after)
  const wasSigned = await isSigned(stage)

  const store = await openStore({ backend: fileBackend({ path: stage.path, staleLockMs }) })
  const now = await markOf(store)
  hold(now === before || now === after, `killed at ${step}: the login is neither the old nor the new one`)
  hold(now === after || step !== 'acknowledged', 'a write was acknowledged and is not there')
  hold(isDeepStrictEqual(await secretsOf(store), expected), `killed at ${step}: a credential was lost`)
  const startedAt = performance.now()
  await mark(store, 'next')
  const nextWriteMs = performance.now() - startedAt
  await store.close()

  const left = (await readdir(stage.home)).filter((name) => /\.tmp$|\.lock|\.bak\./.test(name))
  hold(left.length === 0, `killed at ${step}: ${left.join(', ')} was left behind`)
  return { login: now === before ? 'old' : 'new', wasSigned, nextWriteMs }
}

/** Whether beside the lock, if there is one, stands who holds it. */
async function isSigned({ home }: Stage): Promise<boolean> {
  const names = await readdir(home)
  return !names.includes('auth.json.lock') || names.some((name) => name.startsWith('auth.json.lock.'))
}

export function truncated(stage: Stage): Scene {
  return {
    name: 'truncated',
    title: 'Another program empties auth.json. The second copy brings it back.',
    async play(voice) {
      const { path, urls } = stage
      const entries = await stage.visit(async (store) => (await store.list()).length)
      const expected = await stage.visit((store) => secretsOf(store))
      const before = stage.refreshes()
      await promisify(execFile)(process.execPath, ['-e', 'fs.truncateSync(process.argv[1])', path], { env: {} })
      const { size } = await stat(path)
      hold(size === 0, `auth.json was to be emptied and has ${size} bytes`)
      voice.say(`auth.json, which held ${entries} credentials, has ${size} bytes.`)

      const events: StoreEvent[] = []
      const [token, status] = await stage.visit(async (store, broker) => {
        using _ = store.watch((event) => void events.push(event))
        const found = await broker.getToken(urls.files)
        hold(isDeepStrictEqual(await secretsOf(store), expected), 'a credential was lost')
        return [fingerprint(found.reveal()), await call(urls.files, found)] as const
      })
      const event = events.find(({ type }) => type === 'recovered')
      hold(event?.type === 'recovered' && event.quarantine !== null, 'nobody was told of a recovery')
      const refreshes = stage.refreshes() - before
      hold(status === 200, `the API answered ${status}`)
      const [quarantine, restoredFrom] = [basename(event.quarantine), basename(event.restoredFrom ?? '')]
      hold((await readFile(event.quarantine)).byteLength === size, 'what was found in the file was not kept')
      voice.say('The next program to ask is served, and told what happened:')
      voice.quote(`recovered       ${event.what}\nrestored from   ${restoredFrom}\nwhat was there  ${quarantine}`)
      voice.say(`All ${expected.size} credentials are back. GET /files is ${status}, after ${refreshes} refreshes.`)
      return { entries, recovered: expected.size, what: event.what, restoredFrom, quarantine, token, status, refreshes }
    },
  }
}

async function addNeighbours(store: CredentialStore): Promise<void> {
  for (const key of neighbours) {
    await store.update(key, () => ({ type: 'api_key', ...key, key: new Secret(`key of ${key.provider}`) }))
  }
}

/** The long-lived secret of every credential, as fingerprints: what must never get lost. */
async function secretsOf(store: CredentialStore): Promise<ReadonlyMap<string, string | null>> {
  const keys = await store.list()
  const secrets = await Promise.all(keys.map(async (key) => [key.provider, secretOf(await store.read(key))] as const))
  return new Map(secrets)
}

function secretOf(credential: Credential | null): string | null {
  const secret =
    credential?.type === 'oauth'
      ? credential.grant.refreshToken
      : credential?.type === 'api_key'
        ? credential.key
        : null
  return secret === null ? null : fingerprint(secret.reveal())
}

async function mark(store: CredentialStore, text: string): Promise<void> {
  await store.update(login, (credential) =>
    credential === null ? undefined : { ...credential, metadata: { mark: text } },
  )
}

async function markOf(store: CredentialStore): Promise<unknown> {
  return (await store.read(login))?.metadata?.['mark']
}

/** Lets a write run to its end, and notes what it did. */
async function stepsOfOneWrite(stage: Stage): Promise<readonly string[]> {
  const writer = stage.startScript('writer', 'rehearsal')
  const steps: string[] = []
  for (let step = await writer.line(); step !== null; step = await writer.line()) {
    steps.push(step)
    writer.write('.')
  }
  hold(steps.at(-1) === 'acknowledged', 'the rehearsal of the write did not succeed')
  return steps
}

async function killAt(stage: Stage, steps: readonly string[], last: number, text: string): Promise<void> {
  const writer = stage.startScript('writer', text)
  for (const [index, expected] of steps.slice(0, last + 1).entries()) {
    const step = await writer.line()
    hold(step === expected, `step ${index + 1} of the write was ${step ?? 'missing'}, not ${expected}`)
    if (index < last) writer.write('.')
  }
  await writer.kill()
}
