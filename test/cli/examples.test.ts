import { spawnSync } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { commands } from '../../src/cli/commands.ts'
import { Secret } from '../../src/credential.ts'
import { fileBackend } from '../../src/store/file.ts'
import { sealed } from '../../src/store/sealed.ts'
import { fileKeys } from '../../src/store/sealing-keys.ts'
import { openStore } from '../../src/store/store.ts'

/** Everything that the examples of the help speak of: a provider, a login, a key, a program of the user's. */
let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'authkeep-examples-'))
  const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
  const script = (text: string): [string, { mode: number }] => [`#!/bin/sh\n${text}\n`, { mode: 0o755 }]
  await mkdir(join(directory, 'bin'))
  await writeFile(join(directory, 'bin/authkeep'), ...script(`exec '${process.execPath}' '${main}' "$@"`))
  await writeFile(join(directory, 'bin/curl'), ...script('test "$2" = "Authorization: Bearer at-secret"'))
  await writeFile(join(directory, 'backup.sh'), ...script('test "$AUTHKEEP_TOKEN" = at-secret'))
  await writeFile(join(directory, 'key.txt'), 'sk-secret\n')
  await mkdir(join(directory, '.codex'))
  await writeFile(join(directory, '.codex/auth.json'), '{"OPENAI_API_KEY": "sk-codex"}')
  await mkdir(join(directory, '.local/share/opencode'), { recursive: true })
  await writeFile(join(directory, '.local/share/opencode/auth.json'), '{"acme": {"type": "api", "key": "sk-opencode"}}')
  const issuer = 'http://127.0.0.1:9'
  const acme = {
    ...{ id: 'acme', issuer, client: { id: 'cli' }, metadata: { issuer, token_endpoint: `${issuer}/token` } },
    endpoints: [{ url: 'https://api.example/files', accepts: ['token'], service: 'files' }],
  }
  await writeFile(join(directory, 'acme.json'), JSON.stringify(acme))
})
afterAll(() => rm(directory, { recursive: true }))

/** Each example begins with one login, or with none where it brings one. */
async function begin(example: string): Promise<string> {
  const home = await mkdtemp(join(directory, 'home-'))
  await mkdir(join(home, 'providers'))
  await copyFile(join(directory, 'acme.json'), join(home, 'providers/mine.json'))
  if (/^authkeep (login|import)/.test(example)) return home
  const store = await openStore({ path: join(home, 'auth.json') })
  const entry = { provider: 'acme', account: 'work' }
  for (const token of ['older', 'at-secret']) {
    await store.update(entry, () => ({ type: 'token', ...entry, token: new Secret(token), expiresAt: null }))
  }
  await store.close()
  if (/^authkeep (decrypt|rotate-key)/.test(example)) {
    const backend = sealed(fileBackend({ path: join(home, 'auth.json') }), fileKeys(join(directory, 'keys')))
    await backend.sealAll()
    await backend.close()
  }
  return home
}

/** Why some cannot end with 0 here: nobody is at a browser, no server answers, the state that is named is not there. */
const others: readonly (readonly [RegExp, number])[] = [
  [/^authkeep login acme( acme:work| --account work.*)?$/, 4],
  [/^authkeep login .*--flow device/, 4],
  [/^authkeep login .*--flow (browser|paste)/, 1],
  [/^authkeep login .*--flow client-credentials/, 75],
  [/^authkeep restore 2026/, 1],
  [/^authkeep copy .*env:/, 1],
  // No session bus is in the environment.
  [/^authkeep encrypt --key keychain/, process.platform === 'linux' ? 1 : 0],
  [/^authkeep providers add https:/, 75],
  [/^authkeep doctor/, 1],
  [/^authkeep providers add acme\.json/, 1],
]

it.each(commands.flatMap(({ examples }) => examples))('%s', async (example) => {
  const home = await begin(example)
  const env = { PATH: `${join(directory, 'bin')}:${process.env['PATH'] ?? ''}`, HOME: directory, AUTHKEEP_HOME: home }
  const run = spawnSync('sh', ['-c', example], { cwd: directory, env, encoding: 'utf8', input: '' })
  const code = others.find(([pattern]) => pattern.test(example))?.[1] ?? 0
  expect({ code: run.status, stderr: run.stderr }).toMatchObject({ code })
  expect(run.stderr).not.toMatch(/There is no (command|option)|unexpected/)
})
