import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { otherPrograms, readLogins } from '../../src/broker/other-programs.ts'

// There is no Keychain here: `security` is a script that answers as the real one is documented to.
describe('Claude Code on macOS', () => {
  let directory: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'authkeep-keychain-'))
  })
  afterEach(() => rm(directory, { recursive: true, force: true }))

  async function login(script: string, platform: NodeJS.Platform = 'darwin'): Promise<unknown> {
    await writeFile(join(directory, 'security'), `#!/bin/sh\n${script}\n`)
    await chmod(join(directory, 'security'), 0o755)
    const programs = await otherPrograms({ HOME: directory, PATH: `${directory}:/usr/bin:/bin` }, platform)
    const claude = programs.find(({ id }) => id === 'claude-code')
    const [path = ''] = claude?.paths ?? []
    if (claude === undefined) throw new Error('not known')
    return (await readLogins(claude, path)).map(({ name, secret }) => [path, name, secret.reveal()])
  }

  it('has its login in the Keychain', async () => {
    const item = JSON.stringify({ claudeAiOauth: { accessToken: 'fake-access-token', expiresAt: 4_102_444_800_000 } })
    const script = `[ "$*" = "find-generic-password -w -s Claude Code-credentials" ] && echo '${item}'`
    await expect(login(script)).resolves.toEqual([['keychain:Claude Code-credentials', 'claude', 'fake-access-token']])
  })

  it('has none where there is no such item', async () => {
    await expect(login('exit 44')).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('is a problem where the Keychain stays closed, and what it said is not repeated', async () => {
    const refused = login('echo fake-secret; echo fake-secret >&2; exit 51')
    await expect(refused).rejects.toMatchObject({ name: 'FormatError', what: 'security does not give it' })
    await expect(refused).rejects.not.toThrow(/fake-secret/)
  })

  it('is asked for on macOS only', async () => {
    await expect(login('exit 1', 'linux')).rejects.toMatchObject({ code: 'ENOENT' })
  })
})
