import { chmod, mkdir, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { AuthkeepError, errnoOf, isAuthkeepError } from './errors.ts'
import { isDeepStrictEqual } from './on-demand.ts'
import { checkProvider, type Provider } from './provider.ts'

/**
 * Checks data from outside against every rule of a provider and returns it typed.
 *
 * Stricter than TypeScript where a slip would be dangerous: a member that nobody reads is an error, because a
 * misspelt `resource` or `accepts` would quietly change where a token may go. Problems name a member and a rule and
 * never a value, which may be a client secret.
 *
 * @param source what to call the data in the message, usually the path of a file
 * @throws AuthkeepError `provider_invalid`
 */
export async function parseProvider(data: unknown, source = 'a provider'): Promise<Provider> {
  const { parseWithSchema } = await import('./provider-schema.ts')
  return parseWithSchema(data, source)
}

/**
 * Reads one provider from a JSON file and checks every rule, unknown members included.
 *
 * @throws AuthkeepError `provider_invalid`, also for a file that cannot be read or is not JSON
 */
export async function loadProvider(path: string): Promise<Provider> {
  return parseProvider(await readJson(path), path)
}

/**
 * Reads every `*.json` of a directory, in the order of their names. One bad file never hides another: it becomes a
 * problem. So does a second file for an id that is taken, because it could bind tokens of the first to other hosts.
 * A directory that does not exist holds no providers.
 *
 * Only the rules of `checkProvider` are checked and no schema library is loaded, because this is the way of every
 * cached token; what `saveProvider` wrote has been through the schema before. `full` checks every member again, for
 * some 60 ms of loading the library: what a program wants that is about to log in or to explain.
 *
 * @throws AuthkeepError `provider_invalid` when the directory itself cannot be read
 */
export async function loadProviders(
  dir: string,
  options: { full?: boolean } = {},
): Promise<{ providers: readonly Provider[]; problems: readonly AuthkeepError[] }> {
  const providers = new Map<string, Provider>()
  const problems: AuthkeepError[] = []
  for (const name of await providerFiles(dir)) {
    const path = join(dir, name)
    try {
      const provider = options.full === true ? await loadProvider(path) : checked(await readJson(path), path)
      if (providers.has(provider.id)) throw invalid(path, `id: ${provider.id} is another file's already`)
      providers.set(provider.id, provider)
    } catch (error) {
      if (!isAuthkeepError(error)) throw error
      problems.push(error)
    }
  }
  return { providers: [...providers.values()], problems }
}

/** The problem that `replace` overrules, for those who word advice. */
export const replacementRefused = 'id: another provider has it already, and this one would get its tokens'

/**
 * Writes a provider to `<id>.json` in a directory, private to the user because it may hold a client secret. Resolves
 * once the file has been read back equal to what was written.
 *
 * A different provider of the same id is replaced only with `replace`: it decides which hosts get the tokens that are
 * already stored under that id.
 *
 * @returns whether the file changed
 * @throws AuthkeepError `provider_invalid` for a refused replacement or an id that cannot be a file name
 * @throws AuthkeepError `store_failed` when the file cannot be written
 */
export async function saveProvider(
  dir: string,
  provider: Provider,
  options: { replace?: boolean } = {},
): Promise<boolean> {
  checkProvider(provider)
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(provider.id)) {
    throw invalid(provider.id, 'id: must be letters, digits, ".", "_" and "-" to be a file name')
  }
  const path = join(dir, `${provider.id}.json`)
  const text = `${JSON.stringify(provider, null, 2)}\n`
  const present = await readText(path)
  if (present !== null && isSame(present, provider)) return false
  if (present !== null && options.replace !== true) {
    throw invalid(path, replacementRefused)
  }
  const elsewhere = (await filesOf(dir, provider.id)).find((file) => file !== path)
  if (elsewhere !== undefined) {
    throw invalid(path, `id: ${elsewhere} is called ${provider.id} already; move it out of the way first`)
  }
  await writePrivately(dir, path, text)
  return true
}

/** Files of the directory that claim an id, whether or not they are valid otherwise. */
async function filesOf(dir: string, id: string): Promise<readonly string[]> {
  const files: string[] = []
  for (const name of await providerFiles(dir)) {
    const data = await readJson(join(dir, name)).catch(() => null)
    if ((data as Partial<Provider> | null)?.id === id) files.push(join(dir, name))
  }
  return files
}

function isSame(text: string, provider: Provider): boolean {
  try {
    return isDeepStrictEqual(JSON.parse(text), JSON.parse(JSON.stringify(provider)))
  } catch {
    // Not JSON, so not the same; whether it may be replaced is for the caller to say.
    return false
  }
}

async function writePrivately(dir: string, path: string, text: string): Promise<void> {
  const { default: writeFileAtomic } = await import('write-file-atomic')
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    // A fresh object each time: the library writes into it, and would carry one file's mode to the next.
    await writeFileAtomic(path, text, { mode: 0o600 })
    // It also does not notice a short write.
    const { size, mode } = await stat(path)
    if (size !== Buffer.byteLength(text) || (await readText(path)) !== text) throw shortWrite()
    if (process.platform !== 'win32' && (mode & 0o777) !== 0o600) await chmod(path, 0o600)
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === undefined) throw error
    throw new AuthkeepError('store_failed', { path, operation: 'write', errno, unspent: true })
  }
}

const shortWrite = (): Error => Object.assign(new Error('the file is not what was written'), { code: 'EIO' })

async function providerFiles(dir: string): Promise<readonly string[]> {
  try {
    return (await readdir(dir)).filter((name) => name.endsWith('.json') && !name.startsWith('.')).sort()
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'ENOENT') return []
    throw invalid(dir, `directory: cannot be read (${errno ?? 'unknown error'})`)
  }
}

async function readJson(path: string): Promise<unknown> {
  const text = await readText(path)
  if (text === null) throw invalid(path, 'file: does not exist')
  try {
    return JSON.parse(text)
  } catch {
    // Without the parser's own words: it quotes the text, which may hold a client secret.
    throw invalid(path, 'file: is not JSON')
  }
}

async function readText(path: string): Promise<string | null> {
  try {
    return (await readFile(path, 'utf8')).replace(/^\uFEFF/, '')
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'ENOENT') return null
    throw invalid(path, `file: cannot be read (${errno ?? 'unknown error'})`)
  }
}

function checked(data: unknown, path: string): Provider {
  if (!isObject(data)) throw invalid(path, 'provider: must be an object')
  const { endpoints } = data as { endpoints?: unknown }
  if (Array.isArray(endpoints) && !endpoints.every(isObject)) throw invalid(path, 'endpoints: must be objects')
  const provider = data as Provider
  checkProvider(provider, path)
  return provider
}

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const invalid = (source: string, problem: string): AuthkeepError =>
  new AuthkeepError('provider_invalid', { source, problems: [problem] })
