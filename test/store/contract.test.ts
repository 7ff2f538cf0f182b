import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, test } from 'vitest'
import { memoryBackend } from '../../src/store/backend.ts'
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
