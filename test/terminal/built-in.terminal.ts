import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openPane, type Pane } from './pane.ts'

let home: string
let pane: Pane
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'authkeep-built-in-'))
  pane = openPane({ AUTHKEEP_HOME: home })
  await pane.prompts()
})
afterAll(async () => {
  pane.close()
  await rm(home, { recursive: true, force: true })
})

it('a login to an API that takes nothing but keys asks for the key', async () => {
  await pane.enter('authkeep login anthropic')
  await pane.shows('API key (not shown)')
  await pane.enter('sk-1')
  await pane.shows('Stored the API key of anthropic as "default".')
  expect(await pane.prompts()).toBe(0)
})
