import { readSync, writeSync } from 'node:fs'
import { defaultStorePath, fileBackend, openStore } from 'authkeep'
import { type FileOperations, systemFiles } from 'authkeep/testing'
import { login } from './stage.ts'

// Writes a mark into the login, one system call at a time: before each it says on stdout what comes next, and stands
// still until it is sent a byte, or killed.
const [mark = ''] = process.argv.slice(2)

const looking = new Set<string>([
  'lstat',
  'fstat',
  'readlink',
  'read',
  'readdir',
  'readRecord',
] satisfies (keyof FileOperations)[])

function standStill(before: string): void {
  writeSync(1, `${before}\n`)
  const isAbandoned = readSync(0, Buffer.alloc(1)) === 0
  if (isAbandoned) process.kill(process.pid, 'SIGKILL')
}

const stepByStep = Object.fromEntries(
  Object.entries(systemFiles).map(([name, run]: [string, (...args: never[]) => unknown]) => [
    name,
    (...args: never[]): unknown => {
      if (!looking.has(name)) standStill(name)
      return run.apply(systemFiles, args)
    },
  ]),
) as unknown as FileOperations

const store = await openStore({ backend: fileBackend({ path: defaultStorePath(), files: stepByStep }) })
await store.update(login, (credential) => (credential === null ? undefined : { ...credential, metadata: { mark } }))
standStill('acknowledged')
