import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

interface Changelog {
  readonly dated: (changelog: string, version: string, date: string) => string
}

const scripts = new URL('../../scripts/', import.meta.url)
const { dated } = (await import(new URL('changelog.mjs', scripts).href)) as Changelog
const changelog = `# Changelog

## [0.2.0] - Unreleased

### Added

- What is Unreleased; $& and $1 stay.

## [0.1.0] - 2026-10-01
`

describe('the heading of a version', () => {
  it('gets the date, and nothing else is touched', () => {
    const after = dated(changelog, '0.2.0', '2026-11-23')
    expect(after).toBe(changelog.replace('[0.2.0] - Unreleased', '[0.2.0] - 2026-11-23'))
  })

  it('has to be there, for exactly this version', () => {
    expect(() => dated(changelog, '0.3.0', '2026-11-23')).toThrow('no heading "## [0.3.0] - Unreleased"')
    expect(() => dated(changelog, '0.2', '2026-11-23')).toThrow('no heading')
    expect(() => dated(changelog.replace('0.2.0', '0a2b0'), '0.2.0', '2026-11-23')).toThrow('no heading')
  })

  it('is dated once', () => {
    expect(() => dated(changelog, '0.1.0', '2026-11-23')).toThrow('was released 2026-10-01')
  })
})

describe('npm run release', () => {
  let repository: string
  const git = (...args: readonly string[]): string =>
    execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@t.example', ...args], {
      cwd: repository,
      encoding: 'utf8',
    })
  const release = (args: readonly string[], env: NodeJS.ProcessEnv = {}): ReturnType<typeof spawnSync> => {
    const { CI: _ci, ACTIONS_ID_TOKEN_REQUEST_URL: _url, SIGSTORE_ID_TOKEN: _token, ...outside } = process.env
    const script = fileURLToPath(new URL('release.mjs', scripts))
    return spawnSync(process.execPath, [script, ...args], {
      ...{ cwd: repository, encoding: 'utf8', env: { ...outside, ...env } },
    })
  }
  const text = (path: string): string => readFileSync(join(repository, path), 'utf8')

  beforeEach(() => {
    repository = mkdtempSync(join(tmpdir(), 'authkeep-release-'))
    const lock = { name: 'a', version: '0.1.0', packages: { '': { name: 'a', version: '0.1.0' } } }
    writeFileSync(join(repository, 'package.json'), '{ "name": "a", "version": "0.1.0", "files": ["dist"] }\n')
    writeFileSync(join(repository, 'package-lock.json'), `${JSON.stringify(lock, null, 2)}\n`)
    writeFileSync(join(repository, 'CHANGELOG.md'), changelog)
    git('init', '-q', '-b', 'main')
    git('add', '.')
    git('commit', '-qm', 'all')
  })
  afterEach(() => {
    rmSync(repository, { recursive: true })
  })

  it('sets the date and the version, and nothing else', () => {
    expect(release(['0.2.0'])).toMatchObject({ status: 0, stderr: '' })
    expect(text('package.json')).toBe('{ "name": "a", "version": "0.2.0", "files": ["dist"] }\n')
    expect(JSON.parse(text('package-lock.json'))).toMatchObject({
      version: '0.2.0',
      packages: { '': { version: '0.2.0' } },
    })
    expect(text('CHANGELOG.md')).toMatch(/^## \[0\.2\.0\] - \d{4}-\d{2}-\d{2}$/m)
  })

  it('writes nothing in a dry run', () => {
    const { status, stdout } = release(['--dry-run', '0.2.0'])
    expect(status).toBe(0)
    expect(stdout).toContain('would write: CHANGELOG.md')
    expect(git('status', '--porcelain')).toBe('')
  })

  it('refuses changes that are not committed, another branch, and a version that CHANGELOG.md does not have', () => {
    writeFileSync(join(repository, 'stray'), '')
    git('checkout', '-qb', 'other')
    const { status, stderr } = release(['0.3.0'])
    expect(status).toBe(1)
    expect(stderr).toBe(
      'refused: the tree has changes that are not committed\n' +
        'refused: the branch is other, not main\n' +
        'refused: CHANGELOG.md has no heading "## [0.3.0] - Unreleased"\n',
    )
    expect(git('status', '--porcelain')).toBe('?? stray\n')
  })

  it('publishes nothing that is not prepared, outside CI, or without a repository to check provenance against', () => {
    const { status, stdout, stderr } = release(['0.2.0', '--publish'])
    expect(status).toBe(1)
    expect(stdout).toBe('would run: npm publish --provenance --access public\n')
    expect(stderr).toContain('0.2.0 is not prepared')
    expect(stderr).toContain('package.json has no repository')
    expect(stderr).toContain('this is not CI')
    const inCi = release(['0.2.0', '--publish'], { CI: 'true', ACTIONS_ID_TOKEN_REQUEST_URL: 'https://ci.example' })
    expect(inCi).toMatchObject({ status: 1, stdout })
    expect(inCi.stderr).not.toContain('this is not CI')
  })
})
