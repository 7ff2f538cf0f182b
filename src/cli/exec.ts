import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { errnoOf } from '../errors.ts'
import { type Context, type Result, textOption, UsageError, urlWord, variableOption } from './context.ts'
import { withHome } from './open-home.ts'
import { harmless } from './output.ts'

/** What a terminal sends to a whole foreground group; a process that has no terminal gets it alone. */
const fromTerminal: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT']
const fromOthers: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGHUP', 'SIGUSR2']

interface Ending {
  readonly exitCode: number
  readonly signal: NodeJS.Signals | null
}

/**
 * `authkeep exec <url> -- <command>`: the token in the environment of one child, and nowhere else: not in an argument,
 * where every user of the machine could read it. The child's end is ours, signals and exit code.
 */
export async function exec(context: Context): Promise<Result> {
  const url = urlWord(context)
  const [file, ...args] = context.rest
  if (file === undefined) throw new UsageError('authkeep exec needs a command after --.')
  const variable = variableOption(context)
  const account = textOption(context, 'account')
  const token = await withHome(context, {}, async ({ broker }) =>
    (await broker.getToken(url, { signal: context.signal, ...(account === undefined ? {} : { account }) })).reveal(),
  )
  context.signal.throwIfAborted()
  const ending = await run(file, args, { ...context.env, [variable]: token }, context)
  return { text: '', json: ending, exitCode: ending.exitCode }
}

async function run(file: string, args: readonly string[], env: NodeJS.ProcessEnv, context: Context): Promise<Ending> {
  // From here on signals are the child's business: a second Ctrl-C must not end us before it.
  const isAtTerminal = process.stdin.isTTY
  for (const signal of fromTerminal) process.removeAllListeners(signal)
  for (const signal of fromOthers) process.removeAllListeners(signal)
  // With --json our stdout holds one value and nothing else.
  const stdout = context.options['json'] === true ? process.stderr : 'inherit'
  const child = spawn(file, args, { env, stdio: ['inherit', stdout, 'inherit'] })
  for (const signal of [...fromTerminal, ...fromOthers]) {
    const isSentToChildToo = isAtTerminal && fromTerminal.includes(signal)
    process.on(signal, () => {
      if (!isSentToChildToo) child.kill(signal)
    })
  }
  const ending = await new Promise<Ending>((resolve) => {
    child.once('error', (error) => {
      const errno = errnoOf(error) ?? 'unknown error'
      context.say(harmless(`${file} could not be started: ${errno}`))
      resolve({ exitCode: errno === 'ENOENT' ? 127 : 126, signal: null })
    })
    child.once('close', (code, signal) =>
      resolve({ exitCode: code ?? 128 + constants.signals[signal ?? 'SIGTERM'], signal }),
    )
  })
  // Whoever started us sees what it would have seen of the child: a shell ends its loop after Ctrl-C. Any other signal
  // that comes this late comes for a child that has ended: the answer stands.
  if (ending.signal !== null && context.options['json'] !== true) {
    process.removeAllListeners(ending.signal)
    process.kill(process.pid, ending.signal)
  }
  return ending
}
