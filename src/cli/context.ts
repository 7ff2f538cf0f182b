import { urlOf } from '../endpoint.ts'

/** What a command is given. Everything it reads or writes besides the home directory comes through here. */
export interface Context {
  /** What follows the command, as many as it takes. */
  readonly words: readonly string[]
  /** What follows after `--`, for a command that takes the command line of another program. */
  readonly rest: readonly string[]
  readonly options: Readonly<Record<string, string | boolean | readonly string[] | undefined>>
  /** Absolute path of the directory with `auth.json` and `providers/`. */
  readonly home: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Aborted when the person cancels. */
  readonly signal: AbortSignal
  /** Talks to the person: one line on stderr, harmless to a terminal already. */
  readonly say: (line: string) => void
  /** `--home dir`, where it was given, so that an advised command does the same. */
  readonly homeOption: readonly string[]
  readonly columns: number
}

/** What a command has to show: text for people, one JSON value for programs. Both go to stdout. */
export interface Result {
  readonly text: string
  readonly json: unknown
  /** Default 0: what was asked for was done. */
  readonly exitCode?: number
}

/** The value of a string option, or undefined. */
export function textOption(context: Context, name: string): string | undefined {
  const value = context.options[name]
  return typeof value === 'string' ? value : undefined
}

/** A wrong command line: what is wrong with it, in a sentence. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** A person has to do something, and nobody is there; the message is why, as the end of a sentence. */
export class PersonNeeded extends Error {
  override readonly name = 'PersonNeeded'
}

/** The person was asked and wants none of it. */
export class Cancelled extends Error {
  override readonly name = 'Cancelled'
}

/** The value of an option in seconds, as milliseconds. */
export function secondsOption(context: Context, name: string): number | undefined {
  const value = textOption(context, name)
  if (value === undefined) return undefined
  if (!/^\d{1,9}(\.\d+)?$/.test(value)) throw new UsageError(`--${name} takes a number of seconds, not "${value}".`)
  return Math.round(Number(value) * 1_000)
}

/** The value of `--env`: the variable that a token is to be in. */
export function variableOption(context: Context): string {
  const variable = textOption(context, 'env') ?? 'AUTHKEEP_TOKEN'
  if (!/^[A-Za-z_]\w*$/.test(variable)) throw new UsageError('--env takes the name of an environment variable.')
  return variable
}

/** The word of a command that must be a URL. */
export function urlWord(context: Context): URL {
  const word = context.words[0] ?? ''
  try {
    const url = urlOf(word)
    if (/^https?:$/.test(url.protocol)) return url
  } catch {
    // Said below.
  }
  throw new UsageError(`"${word}" is not a URL such as https://api.example/files.`)
}
