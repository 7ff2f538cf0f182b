import { execFile } from 'node:child_process'
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { builtinModules } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

// What a process loads that prints a living token is what it costs; counted in the built package, where it is joined.

const dist = fileURLToPath(new URL('../dist/', import.meta.url))
const url = 'https://api.example/files'
const provider = { id: 'acme', issuer: 'https://as.example', client: { id: 'cli' }, endpoints: [{ url }] }
const entry = {
  ...{ type: 'oauth', provider: 'acme', account: 'default', issuer: provider.issuer, clientId: 'cli' },
  grant: { scopes: [], refreshToken: 'rt' },
  tokens: [{ accessToken: 'at', tokenType: 'Bearer', scopes: [], resource: null, expiresAt: Date.now() + 3_600_000 }],
}

/** The smallest program that reads a file and prints some of it. */
const bare = `import { readFileSync } from 'node:fs'
console.log(JSON.parse(readFileSync(process.argv[2], 'utf8')).credentials['acme:default'].tokens[0].accessToken)`
const library = `import { readFileSync } from 'node:fs'
const { openStore, TokenBroker } = await import(process.argv[4])
const store = await openStore({ path: process.argv[2] })
const broker = new TokenBroker({ store, providers: [JSON.parse(readFileSync(process.argv[3], 'utf8'))] })
console.log((await broker.getToken('${url}')).reveal())
await broker.close()
await store.close()`
/** Tells at the end which modules of Node are loaded, and as they come which files are. */
const tellModules = `process.on('exit', () => console.error(process.moduleLoadList.join('\\n')))`
const tellFiles = `import { register } from 'node:module'
register('data:text/javascript,' + encodeURIComponent(\`
  import { writeSync } from 'node:fs'
  export async function load(url, context, next) { writeSync(2, url + '\\\\n'); return next(url, context) }\`))`

let home: string
let programs: Readonly<Record<'bare' | 'library' | 'command', readonly string[]>>
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'authkeep-cold-'))
  const file = async (name: string, text: string): Promise<string> => {
    await writeFile(join(home, name), text)
    return join(home, name)
  }
  const store = await file('auth.json', JSON.stringify({ version: 1, credentials: { 'acme:default': entry } }))
  const acme = await file('acme.json', JSON.stringify(provider))
  programs = {
    bare: [await file('bare.mjs', bare), store],
    library: [await file('library.mjs', library), store, acme, join(dist, 'index.js')],
    command: [join(dist, 'cli/main.js'), 'token', url, '--home', home],
  }
  await file('modules.cjs', tellModules)
  await file('files.mjs', tellFiles)
  await promisify(execFile)(process.execPath, [join(dist, 'cli/main.js'), 'providers', 'add', acme, '--home', home])
})
afterAll(() => rm(home, { recursive: true, force: true }))

async function told(program: keyof typeof programs, ...options: readonly string[]): Promise<readonly string[]> {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [...options, ...programs[program]])
  expect(stdout).toBe('at\n')
  return stderr.split('\n')
}

/** The public modules of Node that a program loads and the bare one does not. */
async function modulesOf(program: keyof typeof programs): Promise<readonly string[]> {
  const tell = ['-r', join(home, 'modules.cjs')]
  const before = await told('bare', ...tell)
  const all = (await told(program, ...tell)).filter((each) => !before.includes(each))
  return all.flatMap((each) => builtinModules.filter((name) => each === `NativeModule ${name}`)).sort()
}

/** The files of the package that a program loads, and those of any other package. */
async function filesOf(program: keyof typeof programs): Promise<readonly string[]> {
  const all = await told(program, '--import', join(home, 'files.mjs'))
  const files = all.filter((each) => each.startsWith('file:')).map((each) => fileURLToPath(each))
  return files.filter((each) => !each.startsWith(home)).map((each) => each.replace(dist, ''))
}

describe('a process that prints a living token', () => {
  it('by the library loads two files', async () => {
    expect(await filesOf('library')).toEqual(['index.js', 'authkeep.js'])
  })

  it('by the command line loads four', async () => {
    expect(await filesOf('command')).toEqual(['cli/main.js', 'cli/authkeep.js', 'authkeep.js', 'cli/token.js'])
  })

  it('loads next to nothing of Node', async () => {
    expect(await modulesOf('library')).toEqual(['fs/promises', 'timers/promises'])
    expect(await modulesOf('command')).toEqual(['fs/promises', 'timers/promises'])
  })

  it('reads no more JavaScript than it needs', async () => {
    // What has to be read costs as well, run or not. Something that is loaded when it is needed makes room.
    expect((await stat(join(dist, 'authkeep.js'))).size).toBeLessThan(230_000)
    expect((await stat(join(dist, 'cli/authkeep.js'))).size).toBeLessThan(32_000)
  })
})
