import { execFile } from 'node:child_process'
import { lstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export const about = 'what an installation brings along'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))

/** Every other one with what it needs to keep a login, where it has that in a package of its own. */
const others = [
  ['@badgateway/oauth2-client'],
  ['openid-client'],
  ['google-auth-library'],
  ['@auth0/auth0-spa-js'],
  ['@atproto/oauth-client-node'],
  ['@modelcontextprotocol/sdk'],
  ['@azure/msal-node', '@azure/msal-node-extensions'],
  ['@azure/identity', '@azure/identity-cache-persistence'],
]

export async function* tables(bench) {
  const pinned = JSON.parse(readFileSync(new URL('../peers/package.json', import.meta.url), 'utf8')).dependencies
  const wanted = bench.isQuick ? [] : others
  const contenders = await Promise.all([
    weigh(bench, 'authkeep', async (folder) => [await pack(folder)]),
    ...wanted.map((names) =>
      weigh(bench, names.join(' + '), async () => names.map((name) => `${name}@${pinned[name] ?? alsoPinned[name]}`)),
    ),
  ])
  yield {
    title: 'Installed for production, without what is optional',
    unit: 'MB',
    baseline: 'authkeep',
    rounds: 1,
    contenders,
    notes: () => contenders.flatMap(({ note }) => note ?? []),
  }
}

/** Those that nothing else is measured with. */
const alsoPinned = {
  '@azure/identity': '4.13.0',
  '@azure/identity-cache-persistence': '1.2.0',
  '@azure/msal-node-extensions': '5.6.1',
}

async function pack(folder) {
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: root })
  return `./${JSON.parse(stdout)[0].filename}`
}

/** Installs into a folder of its own, without running anything of what is installed. */
async function weigh({ scratch }, name, packagesFor) {
  const folder = scratch.directory(name.replaceAll(/\W+/g, '-'))
  try {
    writeFileSync(join(folder, 'package.json'), '{ "private": true }\n')
    const flags = ['--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund', '--prefer-offline']
    await run('npm', ['install', ...flags, ...(await packagesFor(folder))], { cwd: folder })
    const { packages } = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8'))
    const installed = Object.entries(packages).filter(([path, { optional }]) => path !== '' && optional !== true)
    const scripted = installed.filter(([, { hasInstallScript }]) => hasInstallScript).length
    const bytes = sizeOf(join(folder, 'node_modules'))
    const note = `${name}: ${installed.length} packages, ${scripted} with an install script`
    return { name, note, sample: () => bytes / 1e6 }
  } catch (error) {
    const line = String(error.stderr ?? error)
      .split('\n')
      .find((each) => /error|Error/.test(each))
    return { name, absent: (line ?? 'npm did not install it').slice(0, 120) }
  }
}

function sizeOf(path) {
  const stat = lstatSync(path)
  if (!stat.isDirectory()) return stat.size
  return readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0)
}
