import { spawnSync } from 'node:child_process'
import { open, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { timed } from '../runner.mjs'

export const about = 'a durable commit, from the call to its acknowledgement'

/** About 1,090 bytes an entry as the file spells it; four of them are a file of 4 KB. */
const secretLength = 880

export async function* tables(bench) {
  yield await commitTable(bench, 4, bench.rounds(300, 40), true)
  for (const entries of [1, 100, 1_000, 10_000]) {
    const few = entries > 100
    yield await commitTable(bench, entries, few ? bench.rounds(20, 3) : bench.rounds(100, 20), false)
  }
}

async function commitTable(bench, entries, rounds, withPeers) {
  const ours = await authkeep(bench, entries)
  const text = await readFile(ours.path, 'utf8')
  const floor = await systemCalls(bench, entries, text)
  const size = text.length < 10_000 ? `${(text.length / 1_000).toFixed(1)} kB` : `${Math.round(text.length / 1_000)} kB`
  return {
    title: `One credential of ${entries.toLocaleString('en')} changed (${size})`,
    unit: 'ms',
    baseline: 'the system calls, from C',
    rounds,
    // Some contenders leave dirty pages behind, and the next sync would pay for them.
    settle: () => spawnSync('sync', ['-f', bench.scratch.path]),
    warmUps: entries > 100 ? 1 : 20,
    contenders: [floor, ours, ...(withPeers ? await others(bench, text) : [])],
    // The whole file is written each time: larger ones cost what they are long.
    goals: withPeers ? [{ contender: 'authkeep', atMost: 1.5, times: 'the system calls, from C' }] : [],
  }
}

async function authkeep({ dist, scratch }, entries) {
  const { openStore, Secret } = await import(`${dist}/index.js`)
  const path = join(scratch.directory(`authkeep-${entries}`), 'auth.json')
  const store = await openStore({ path })
  const keys = Array.from({ length: entries }, (_, index) => ({ provider: 'acme', account: `account ${index}` }))
  const credential = (key, count) => {
    const text = String(count).padStart(10, '0')
    return { type: 'api_key', ...key, key: new Secret(text.padEnd(secretLength, 'x')) }
  }
  await store.updateAll(keys, () => new Map(keys.map((key) => [`${key.provider}:${key.account}`, credential(key, 0)])))
  let count = 0
  const change = () => store.update(keys[0], () => credential(keys[0], ++count))
  return { name: 'authkeep', path, sample: () => timed(change), close: () => store.close() }
}

/** The same system calls from a C program, which measures itself: the pipe to it costs nothing of what is compared. */
async function systemCalls({ scratch }, entries, text) {
  const name = 'the system calls, from C'
  const path = join(scratch.directory(`c-${entries}`), 'auth.json')
  await writeFile(path, text, { mode: 0o600 })
  try {
    const program = scratch.talk(scratch.compile('commit'), [path])
    const sample = async () => {
      program.say(1)
      return Number((await program.hear()).trim()) / 1e6
    }
    return { name, sample, close: () => program.end() }
  } catch (error) {
    return { name, absent: error.message }
  }
}

/** What people use instead. None of them locks, reads under a lock, or keeps a second copy. */
async function others({ peers, scratch }, text) {
  const document = JSON.parse(text)
  const next = () => {
    document.count = (document.count ?? 0) + 1
    return JSON.stringify(document, null, 2)
  }
  const path = (name) => join(scratch.directory(name), 'auth.json')
  const writer = (name, write) => ({ name, sample: () => timed(() => write(next())) })
  const atomic = path('write-file-atomic')
  const atomically = path('atomically')
  const bare = path('bare')
  const own = path('own')
  return [
    await peers.contender('write-file-atomic', (write) =>
      writer('write-file-atomic (no directory sync)', (data) => write(atomic, data, { mode: 0o600 })),
    ),
    await peers.contender('atomically', ({ writeFile: write }) =>
      writer('atomically (no directory sync)', (data) => write(atomically, data, { mode: 0o600 })),
    ),
    await peers.contender('better-sqlite3', (Database) => sqlite(new Database(path('sqlite')), next)),
    writer('by hand: write, sync, rename, sync', async (data) => {
      const draft = await open(`${own}.tmp`, 'w', 0o600)
      await draft.writeFile(data)
      await draft.sync()
      await draft.close()
      await rename(`${own}.tmp`, own)
      const directory = await open(join(own, '..'))
      await directory.sync()
      await directory.close()
    }),
    writer('fs.writeFile (neither durable nor atomic)', (data) => writeFile(bare, data, { mode: 0o600 })),
  ]
}

function sqlite(database, next) {
  database.pragma('journal_mode = WAL')
  database.pragma('synchronous = FULL')
  database.exec('CREATE TABLE store (id INTEGER PRIMARY KEY, document TEXT)')
  const put = database.prepare('INSERT OR REPLACE INTO store VALUES (1, ?)')
  return {
    name: 'better-sqlite3 (WAL, FULL)',
    sample: () => timed(() => put.run(next())),
    close: () => database.close(),
  }
}
