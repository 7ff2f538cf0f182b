import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, test } from 'vitest'
import { openClawAuthProfilesFormat } from '../../src/formats/openclaw-auth-profiles.ts'
import { piAuthJsonFormat } from '../../src/formats/pi-auth-json.ts'
import { memoryBackend, type StoreBackend, type Versioned } from '../../src/store/backend.ts'
import { spoiledContract, storeContract } from '../../src/store/contract.ts'
import { fileBackend } from '../../src/store/file.ts'

const directories: string[] = []
afterEach(async () => {
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true })
})

describe('the memory backend keeps the contract:', () => {
  test.each(storeContract)('$name', async (rule) => {
    const backend = memoryBackend()
    await rule.run({ open: async () => backend })
  })
})

describe('the file backend keeps the contract:', () => {
  test.each(storeContract)('$name', async (rule) => {
    const directory = await mkdtemp(join(tmpdir(), 'authkeep-'))
    directories.push(directory)
    await rule.run({ open: async () => fileBackend({ path: join(directory, 'deep', 'auth.json') }) })
  })
})

/**
 * The files of other programs hold logins, and nothing else: a value of the contract is the metadata of one there, and
 * a key is its provider. Keys that begin with a colon take any value, as everywhere.
 */
function asLogins(backend: StoreBackend, nameOf: (key: string) => string): StoreBackend {
  const isState = (key: string): boolean => key.startsWith(':')
  const inside = (key: string): string => (isState(key) ? key : nameOf(key))
  const outside = (key: string): string => (isState(key) ? key : decodeURIComponent(key.replace(/:default$/, '')))
  const shown = (key: string, found: Versioned | null): Versioned | null => {
    if (found === null || isState(key)) return found
    return { ...found, value: found.value['metadata'] as Versioned['value'] }
  }
  return {
    get exclusion() {
      return backend.exclusion
    },
    read: async (key) => shown(key, await backend.read(inside(key))),
    async commit(changes) {
      const result = await backend.commit(
        changes.map(({ key, next, expected }) => {
          const written = next === null || isState(key) ? next : loginWith(inside(key), next)
          return { key: inside(key), next: written, expected }
        }),
      )
      if (result.ok) return result
      const key = outside(result.key)
      return { ok: false, key, current: shown(key, result.current) }
    },
    keys: async () => (await backend.keys()).map(outside),
    waitForChange: (key, since, timeoutMs) => backend.waitForChange(inside(key), since, timeoutMs),
    close: () => backend.close(),
  }
}

function loginWith(key: string, metadata: Versioned['value']): Versioned['value'] {
  const [provider = '', account = ''] = key.split(':')
  return {
    ...{ type: 'oauth', provider, account, issuer: 'https://as.example', clientId: 'c', subject: null },
    grant: { scopes: [], refreshToken: 'r', generation: 1 },
    tokens: [{ accessToken: 'a', scopes: [], resource: null, expiresAt: 1 }],
    ...{ lease: null, metadata },
  }
}

const owned = [piAuthJsonFormat, openClawAuthProfilesFormat].map((format) => ({ format, called: format.name }))
const asProvider = (key: string): string => `${encodeURIComponent(key)}:default`

describe.each(owned)('the file backend keeps the contract with logins in a file of $called:', ({ format }) => {
  test.each(storeContract)('$name', async (rule) => {
    const directory = await mkdtemp(join(tmpdir(), 'authkeep-'))
    directories.push(directory)
    const path = join(directory, 'deep', 'auth.json')
    await rule.run({ open: async () => asLogins(fileBackend({ path, format }), asProvider) })
  })

  const spoilt: readonly (readonly [string, (path: string, key: string) => Promise<void>])[] = [
    ['an entry that is none', (path, key) => spoilEntry(path, key, 7)],
    ['an entry of another shape', (path, key) => spoilEntry(path, key, [])],
    ['an empty file', (path) => writeFile(path, '')],
    ['a torn file', (path) => writeFile(path, '{ "version": 1, "prof')],
  ]
  test.each(spoiledContract.flatMap((rule) => spoilt.map(([what, spoil]) => ({ rule, name: rule.name, what, spoil }))))(
    'with $what, $name',
    async ({ rule, spoil }) => {
      const directory = await mkdtemp(join(tmpdir(), 'authkeep-'))
      directories.push(directory)
      const path = join(directory, 'auth.json')
      await rule.run({
        open: async () => asLogins(fileBackend({ path, format }), asProvider),
        spoil: (key) => spoil(path, key),
      })
    },
  )
})

async function spoilEntry(path: string, key: string, entry: unknown): Promise<void> {
  const document = JSON.parse(await readFile(path, 'utf8')) as Record<string, Record<string, unknown>>
  const { profiles } = document
  if (profiles === undefined) Object.assign(document, { [encodeURIComponent(key)]: entry })
  else profiles[asProvider(key)] = entry
  await writeFile(path, JSON.stringify(document))
}

const spoilings: readonly (readonly [string, (directory: string, key: string) => Promise<void>])[] = [
  ['an entry that is none', (directory, key) => rewrite(directory, key, 7)],
  ['an entry of another shape', (directory, key) => rewrite(directory, key, [])],
  ['a torn file', (directory) => writeFile(join(directory, 'auth.json'), '{ "version": 1, "cred')],
  ['an empty file', (directory) => writeFile(join(directory, 'auth.json'), '')],
  [
    'everything torn, the copy too',
    async (directory) => {
      for (const name of await readdir(directory)) await writeFile(join(directory, name), '{ "version')
    },
  ],
]

async function rewrite(directory: string, key: string, entry: unknown): Promise<void> {
  const text = await readFile(join(directory, 'auth.json'), 'utf8')
  const document = JSON.parse(text) as { credentials: Record<string, unknown> }
  document.credentials[key] = entry
  await writeFile(join(directory, 'auth.json'), JSON.stringify(document))
}

describe.each(spoilings)('the file backend keeps the contract with %s:', (_, spoil) => {
  test.each(spoiledContract)('$name', async (rule) => {
    const directory = await mkdtemp(join(tmpdir(), 'authkeep-'))
    directories.push(directory)
    await rule.run({
      open: async () => fileBackend({ path: join(directory, 'auth.json') }),
      spoil: (key) => spoil(directory, key),
    })
  })
})
