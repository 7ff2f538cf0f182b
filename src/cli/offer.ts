import { resolve } from 'node:path'
import { tokenFormats } from '../adapters/helper-output.ts'
import { otherPrograms } from '../broker/other-programs.ts'
import { parseKeyName } from '../credential.ts'
import { homeDirectory } from '../home.ts'
import type { Provider } from '../provider.ts'
import { type CredentialInfo, CredentialStore } from '../store/store.ts'
import { encodeForBash, readBashLine } from './bash-line.ts'
import { flowNames } from './choose-flow.ts'
import { type Command, commands, globalOptions, optionsEverywhere } from './commands.ts'
import type { Context, Result } from './context.ts'
import { knownProviders } from './known-providers.ts'
import { providersPath } from './open-home.ts'
import { backendOf } from './open-store.ts'
import { harmless } from './output.ts'

/** What may stand in the place of a word: the whole of it, unquoted. */
interface Offered {
  readonly word: string
  readonly about: string
}

/** What may follow, and whether that is the name of a file. */
interface Offer {
  readonly files: boolean
  readonly offered: readonly Offered[]
}

const nothing: Offer = { files: false, offered: [] }
const files: Offer = { files: true, offered: [] }
const plain = (words: Iterable<string>): Offer => ({
  files: false,
  offered: [...new Set(words)].map((word) => ({ word, about: '' })),
})

/** What a shell may offer after the words in `context.rest`; nothing where something cannot be read. */
export async function offerFor(shell: string, context: Context): Promise<Result> {
  const line = shell === 'bash' ? readBashLine(context.rest[0] ?? '', context.rest[1] ?? '') : null
  const words = shell === 'bash' ? (line?.words ?? []) : context.rest
  const offer = words.length === 0 ? nothing : await offerAfter(words, shell, context).catch(() => nothing)
  const current = words.at(-1) ?? ''
  const offered = offer.offered.filter(({ word }) => word.startsWith(current) && canBePassed(word, shell))
  const records = offered.flatMap(({ word, about }) => {
    const shown = about === '' ? harmless(word) : `${harmless(word)} -- ${about}`
    if (shell === 'zsh') return [word, shown]
    if (shell === 'fish') return [about === '' ? word : `${word}\t${about}`]
    return line === null || !word.startsWith(line.head) ? [] : [encodeForBash(word.slice(line.head.length), line.quote)]
  })
  const end = shell === 'bash' ? '\n' : '\0'
  const text = [offer.files ? 'files' : 'words', ...records].map((record) => `${record}${end}`).join('')
  return { text, json: { shell, files: offer.files, offered } }
}

/** What no argument can hold, and for fish what ends a word there, cannot be offered. */
const canBePassed = (word: string, shell: string): boolean =>
  !word.includes('\0') && Buffer.from(word).toString() === word && !(shell === 'fish' && word.includes('\t'))

/** @param words what follows `authkeep`; the last one is being typed */
async function offerAfter(words: readonly string[], shell: string, context: Context): Promise<Offer> {
  const current = words.at(-1) ?? ''
  const { positionals, options, pending, ended } = read(words.slice(0, -1))
  const command = commands.find(({ name }) => name === positionals.slice(0, name.split(' ').length).join(' '))
  if (ended) return command?.takesRest === true ? files : nothing
  const home = resolve(
    options.get('home')?.replace(/^~(?=\/)/, context.env['HOME'] ?? '~') ?? homeDirectory(context.env),
  )
  const own = command === undefined ? [] : positionals.slice(command.name.split(' ').length)
  // Behind an equals sign only: what would be an option, and what fish would take for a directory.
  const isGlued = ({ word }: Offered): boolean => (shell === 'fish' ? /^[-~]/ : /^-/).test(word)
  const there = { env: context.env, home, provider: providerOf(command, own, options), current }
  if (pending !== null) {
    const { files, offered } = await valuesOf(pending, there)
    return { files, offered: offered.filter((each) => !isGlued(each)) }
  }
  const [, option, equals] = /^--([^=]*)(=?)/.exec(current) ?? []
  if (option !== undefined && equals === '=') {
    const { files, offered } = await valuesOf(option, there)
    return { files, offered: offered.map(({ word, about }) => ({ word: `--${option}=${word}`, about })) }
  }
  if (current.startsWith('-')) {
    const typed = command?.options[current.slice(2)]
    const glued = typed?.type === 'string' ? (await valuesOf(current.slice(2), there)).offered.filter(isGlued) : []
    return {
      files: false,
      offered: [...optionsOf(command), ...glued.map(({ word, about }) => ({ word: `${current}=${word}`, about }))],
    }
  }
  if (command === undefined) return firstWords(positionals)
  const due = command.takes[command.mayRepeat === true ? Math.min(own.length, command.takes.length - 1) : own.length]
  if (due === undefined) return { files: false, offered: optionsOf(command) }
  const offer = await valuesOf(due, { ...there, provider: undefined }, command.name)
  return { ...offer, offered: offer.offered.filter((each) => !isGlued(each)) }
}

interface Read {
  readonly positionals: readonly string[]
  readonly options: ReadonlyMap<string, string>
  /** The option whose value comes next. */
  readonly pending: string | null
  /** Whether `--` has been seen. */
  readonly ended: boolean
}

function read(words: readonly string[]): Read {
  const known = Object.assign({}, globalOptions, ...commands.map(({ options }) => options)) as Command['options']
  const positionals: string[] = []
  const options = new Map<string, string>()
  let pending: string | null = null
  for (const word of words) {
    if (pending !== null) {
      options.set(pending, word)
      pending = null
    } else if (word === '--') return { positionals, options, pending, ended: true }
    else if (word.startsWith('--')) {
      const [, name = '', value] = /^--([^=]*)(?:=([^]*))?$/.exec(word) ?? []
      if (value !== undefined) options.set(name, value)
      else if (Object.hasOwn(known, name) && known[name]?.type === 'string') pending = name
    } else positionals.push(word)
  }
  return { positionals, options, pending, ended: false }
}

const optionsOf = (command: Command | undefined): readonly Offered[] =>
  Object.entries({ ...command?.options, ...optionsEverywhere(command) }).map(([name, { about }]) => ({
    word: `--${name}`,
    about,
  }))

function firstWords(positionals: readonly string[]): Offer {
  const found = new Map<string, string>()
  for (const { name, about } of commands) {
    const words = name.split(' ')
    const word = words[positionals.length]
    if (word === undefined || words.slice(0, positionals.length).join(' ') !== positionals.join(' ')) continue
    if (!found.has(word)) found.set(word, about)
  }
  return { files: false, offered: [...found].map(([word, about]) => ({ word, about })) }
}

function providerOf(
  command: Command | undefined,
  words: readonly string[],
  options: Read['options'],
): string | undefined {
  if (options.has('provider')) return options.get('provider')
  return command?.takes[0] === 'provider' ? words[0] : undefined
}

interface There {
  readonly env: Context['env']
  readonly home: string
  /** The provider that the accounts are of, where it is known. */
  readonly provider: string | undefined
  readonly current: string
}

/** What an option, or a word that a command takes, may be. */
async function valuesOf(name: string, there: There, command?: string): Promise<Offer> {
  switch (name) {
    case 'file':
    case 'home':
      return files
    case 'shell':
      return plain(['bash', 'zsh', 'fish'])
    case 'format':
      return plain(tokenFormats)
    case 'action':
      return plain(command === 'git-credential' ? ['get', 'store', 'erase'] : ['get', 'list'])
    case 'flow':
      return plain(flowNames)
    case 'program':
      return plain((await otherPrograms(there.env)).map(({ id }) => id))
    case 'id':
      return plain(await withStore(there, async (store) => (await store.backups()).map(({ id }) => id)))
    case 'service':
      return plain(
        (await providers(there)).flatMap(({ endpoints = [] }) => endpoints.flatMap(({ service }) => service ?? [])),
      )
    case 'account':
    case 'try':
      return plain((await logins(there)).map(({ account }) => account))
    case 'provider':
      if (command === 'login' && there.current.includes(':')) {
        const { provider } = parseKeyName(there.current)
        return plain((await logins({ ...there, provider })).map(({ account }) => `${provider}:${account}`))
      }
      return plain(
        command === undefined || command === 'login'
          ? (await providers(there)).map(({ id }) => id)
          : (await logins(there)).map(({ provider }) => provider),
      )
    default:
      return nothing
  }
}

async function providers({ home, env }: There): Promise<readonly Provider[]> {
  return (await knownProviders(providersPath(home), env)).providers
}

const logins = ({ provider, ...there }: There): Promise<readonly CredentialInfo[]> =>
  withStore(there, (store) => store.list(provider === undefined ? {} : { provider }))

async function withStore<T>(
  { home, env }: Pick<There, 'home' | 'env'>,
  use: (store: CredentialStore) => Promise<T>,
): Promise<T> {
  const store = new CredentialStore(await backendOf({ home, env }))
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}
