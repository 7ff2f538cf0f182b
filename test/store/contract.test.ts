import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, test } from 'vitest'
import { memoryBackend } from '../../src/store/backend.ts'
import { storeContract } from '../../src/store/contract.ts'
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
