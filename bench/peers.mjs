import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const directory = fileURLToPath(new URL('peers/', import.meta.url))
const requireThere = createRequire(join(directory, 'package.json'))

/** Other libraries, in a folder of their own with pinned versions, installed the first time that one is wanted. */
export class Peers {
  /** Versions of those that were loaded. */
  versions = {}
  #failure

  /**
   * A contender made with a peer; where the peer cannot be had, one that says why.
   *
   * @param {string} name the package
   * @param {(module: any) => import('./runner.mjs').Contender | Promise<import('./runner.mjs').Contender>} make
   */
  async contender(name, make) {
    return this.located(name, async (path) => {
      const module = await import(path)
      return make(module.default ?? module)
    })
  }

  /**
   * The same for one that a process of its own loads.
   *
   * @param {string} name the package
   * @param {(path: string) => import('./runner.mjs').Contender | Promise<import('./runner.mjs').Contender>} make
   */
  async located(name, make) {
    try {
      return await make(this.#locate(name))
    } catch (error) {
      return { name, absent: error.message.split('\n')[0] }
    }
  }

  #locate(name) {
    this.#install()
    const [packageName] = /^(@[^/]+\/)?[^/]+/.exec(name)
    const manifest = join(directory, 'node_modules', packageName, 'package.json')
    this.versions[packageName] = JSON.parse(readFileSync(manifest, 'utf8')).version
    return pathToFileURL(requireThere.resolve(name)).href
  }

  #install() {
    if (this.#failure !== undefined) throw new Error(this.#failure)
    const lock = readFileSync(join(directory, 'package-lock.json'), 'utf8')
    const installed = join(directory, 'node_modules', '.installed-lock.json')
    if (existsSync(installed) && readFileSync(installed, 'utf8') === lock) return
    console.error('installing the peers …')
    const words = ['ci', '--no-audit', '--no-fund']
    const { status, stderr } = spawnSync('npm', words, { cwd: directory, encoding: 'utf8', shell: false })
    if (status === 0) return writeFileSync(installed, lock)
    const line = stderr?.split('\n').find((each) => each.includes('npm error')) ?? 'npm did not run'
    this.#failure = `could not be installed (${line.replace(/^npm error /, '')})`
    throw new Error(this.#failure)
  }
}
