const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

let holders = 0
let bound: NodeJS.Timeout | undefined
/** Came while something was held; the process owes its death to it. */
let pending: NodeJS.Signals | undefined
let longestMs = 0

/**
 * Keeps a signal from ending the process while `work` is under way: a refresh token that has been sent is worth the
 * second that its successor takes. Afterwards the process dies of that very signal; at the latest `boundMs` after it
 * came. A program that listens for signals itself decides itself, and hears of them as always. Listeners exist only
 * while something is held. It cannot hold up `process.exit()` and SIGKILL.
 */
export async function holdExit<T>(work: () => Promise<T>, boundMs: number): Promise<T> {
  longestMs = Math.max(longestMs, boundMs)
  // In front: a listener that removes itself is still there when we look who cares.
  if (holders++ === 0) for (const signal of signals) process.prependListener(signal, onSignal)
  try {
    return await work()
  } finally {
    if (--holders === 0) letGo()
  }
}

function onSignal(signal: NodeJS.Signals): void {
  if (pending !== undefined || isCaredFor(signal)) return
  pending = signal
  bound = setTimeout(letGo, longestMs).unref()
}

function letGo(): void {
  clearTimeout(bound)
  for (const signal of signals) process.removeListener(signal, onSignal)
  const signal = pending
  pending = undefined
  longestMs = 0
  if (signal !== undefined) process.kill(process.pid, signal)
}

/** Whether the program listens. The exit hooks of libraries do not count: they only tidy up before the death. */
function isCaredFor(signal: NodeJS.Signals): boolean {
  const hooks = [
    (process as { __signal_exit_emitter__?: { count?: number } }).__signal_exit_emitter__,
    (globalThis as { [name: symbol]: { count?: number } | undefined })[Symbol.for('signal-exit emitter')],
  ]
  const hooked = hooks.reduce((sum, hook) => sum + (hook?.count ?? 0), 0)
  return process.listenerCount(signal) - 1 > hooked
}
