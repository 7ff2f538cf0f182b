import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { thisOwner, vitality } from '../src/owner.ts'

const me = thisOwner()
const gone = 2 ** 22 + 1

test('this process is alive, and known by more than its number', () => {
  expect(vitality(me)).toBe('alive')
  expect(me.pid).toBe(process.pid)
})

test('a process that is missing is dead, if everything else says that it would be here', () => {
  expect(vitality({ ...me, pid: gone })).toBe('dead')
})

test.each([
  ['another host', { host: 'elsewhere' }],
  ['another boot', { bootId: 'another' }],
  ['another pid namespace', { pidNamespace: 'pid:[1]' }],
  ['an unknown boot', { bootId: null }],
])('of %s nothing is known, however missing its number', (_, difference) => {
  expect(vitality({ ...me, pid: gone, ...difference })).toBe('unknown')
  expect(vitality({ ...me, ...difference })).toBe('unknown')
})

test.runIf(process.platform === 'linux')('another process under the same number is no sign of life', () => {
  expect(vitality({ ...me, startTime: '1' })).toBe('dead')
  expect(vitality({ ...me, startTime: null })).toBe('alive')
})

test.runIf(process.platform === 'linux')('a zombie is dead', async () => {
  // The child ends after the shell has become `sleep`, which never asks what became of it.
  const shell = spawn('sh', ['-c', 'sleep 0.3 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] })
  try {
    const [line] = (await once(shell.stdout, 'data')) as [Buffer]
    const pid = Number(line.toString())
    const isZombie = (): boolean => / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
    for (let look = 0; look < 500 && !isZombie(); look++) await new Promise((resolve) => setTimeout(resolve, 10))
    expect(isZombie()).toBe(true)
    expect(vitality({ ...me, pid, startTime: null })).toBe('dead')
  } finally {
    shell.kill('SIGKILL')
  }
})
