import type { parseArgs } from 'node:util'
import { type Command, commands, globalOptions, type Option } from './commands.ts'
import { type Context, UsageError } from './context.ts'

export interface Arguments {
  /** Undefined when none was named, which asks for help. */
  readonly command: Command | undefined
  readonly words: readonly string[]
  readonly rest: readonly string[]
  readonly options: Context['options']
}

/**
 * Reads a command line. Options may stand anywhere; each must be known to the command.
 *
 * @throws UsageError
 */
export async function readArguments(args: readonly string[]): Promise<Arguments> {
  const every = Object.assign({}, globalOptions, ...commands.map((command) => command.options)) as Command['options']
  const end = args.indexOf('--')
  const [own, rest] = end === -1 ? [args, []] : [args.slice(0, end), args.slice(end + 1)]
  const { values, positionals } = await parse(own, every)
  const options = values as Context['options']
  const wantsHelp = options['help'] === true || options['version'] === true
  const command = commands.find(({ name }) => name === positionals.slice(0, name.split(' ').length).join(' '))
  if (command === undefined) {
    if (positionals.length > 0 && !wantsHelp) throw new UsageError(await unknownCommand(positionals))
    return { command, words: [], rest, options }
  }
  const words = positionals.slice(command.name.split(' ').length)
  if (wantsHelp) return { command, words, rest, options }
  if (end !== -1 && command.takesRest === undefined)
    throw new UsageError(`authkeep ${command.name} takes nothing after --.`)
  for (const name of Object.keys(options)) {
    if (!(name in globalOptions || name in command.options)) {
      throw new UsageError(`authkeep ${command.name} has no option --${name}.`)
    }
  }
  if (command.speaksProtocol === true && options['json'] === true) {
    throw new UsageError(`authkeep ${command.name} speaks another program's protocol and takes no --json.`)
  }
  const isOmitted = command.mayOmit === true && words.length === 0
  const isRepeated = command.mayRepeat === true && words.length > command.takes.length
  if (words.length !== command.takes.length && !isOmitted && !isRepeated)
    throw new UsageError(wrongCount(command, words.length))
  return { command, words, rest, options }
}

async function parse(
  args: readonly string[],
  options: Readonly<Record<string, Option>>,
): Promise<ReturnType<typeof parseArgs>> {
  try {
    // An import of `node:util` makes all that it exports, worker threads among it.
    return process.getBuiltinModule('node:util').parseArgs({
      args: [...args],
      allowPositionals: true,
      strict: true,
      options: Object.fromEntries(
        Object.entries(options).map(([name, { type, multiple = false }]) => [name, { type, multiple }]),
      ),
    })
  } catch (error) {
    throw new UsageError(await sentenceFor(error, Object.keys(options)))
  }
}

/** parseArgs explains itself in several sentences; one is enough. The value that was given is not repeated. */
async function sentenceFor(error: unknown, known: readonly string[]): Promise<string> {
  const { code, message = '' } = error as { code?: string; message?: string }
  const option = /'(?:-\w, )?(--?[^'\s=]+)/.exec(message)?.[1] ?? 'An option'
  if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') return `There is no option ${option}.${await meant(option, known)}`
  if (/does not take/.test(message)) return `${option} takes no value.`
  return `${option} needs a value.`
}

async function meant(option: string, known: readonly string[]): Promise<string> {
  const { nearestName } = await import('../nearest.ts')
  const word = option.replace(/^-+/, '')
  const close = known.find((name) => word.length > 1 && name.startsWith(word)) ?? nearestName(word, known)
  return close === undefined ? '' : ` Did you mean --${close}?`
}

async function unknownCommand(positionals: readonly string[]): Promise<string> {
  const [first = ''] = positionals
  const below = commands.filter(({ name }) => name.startsWith(`${first} `)).map(({ name }) => name)
  if (below.length > 0)
    return `authkeep ${first} is followed by ${below.map((name) => name.slice(first.length + 1)).join(' or ')}.`
  const { nearestName } = await import('../nearest.ts')
  const nearest = nearestName(
    first,
    commands.map(({ name }) => name),
  )
  return `There is no command ${JSON.stringify(first)}.${nearest === undefined ? '' : ` Did you mean ${nearest}?`}`
}

function wrongCount({ name, takes }: Command, count: number): string {
  const wanted = takes.map((each) => `<${each}>`).join(' ')
  if (takes.length === 0) return `authkeep ${name} takes nothing more.`
  return count < takes.length ? `authkeep ${name} needs ${wanted}.` : `authkeep ${name} takes only ${wanted}.`
}
