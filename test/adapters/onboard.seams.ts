import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, it } from 'vitest'
import { startProgram } from '../seams/program.ts'

it('a program that imports onboard adds three logins to an agent with five, whose bytes stay', async () => {
  const home = await mkdtemp(join(tmpdir(), 'authkeep-onboard-'))
  const path = join(home, 'agents', 'main', 'agent', 'auth.json')
  const five = ['a', 'b', 'c', 'd', 'e'].map((id) => `"${id}":  {"type":"api_key", "key":"sk-${id}"}`)
  try {
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, `{${five.join(', ')}}`)
    const { child } = startProgram('onboard.ts', home, {}, [path, 'x=sk-x', 'y=sk-y', 'z=sk-z'])
    const [code] = (await once(child, 'close')) as [number]
    expect(code).toBe(0)
    const after = await readFile(path, 'utf8')
    for (const entry of five) expect(after).toContain(entry)
    expect(Object.keys(JSON.parse(after) as object)).toEqual(['a', 'b', 'c', 'd', 'e', 'x', 'y', 'z'])
  } finally {
    await rm(home, { recursive: true })
  }
})
