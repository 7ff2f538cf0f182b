import { UsageError } from './context.ts'

export const flowNames = ['browser', 'device', 'paste', 'client-credentials', 'api-key'] as const
export type FlowName = (typeof flowNames)[number]

/** What decides how a person can log in. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly platform: NodeJS.Platform
  /** Whether somebody can read what we say, or type something. */
  readonly isTerminal: boolean
  readonly isContainer: boolean
  /** Whether the server knows device codes (RFC 8628); asked only where it matters. */
  readonly hasDeviceCodes: () => Promise<boolean>
}

/** How to log in, or null where nobody could, and why, as the end of a sentence. */
export interface Choice {
  readonly flow: FlowName | null
  readonly why: string
}

/** @throws UsageError for a flow that there is not */
export function forcedFlow(name: string): FlowName {
  const flow = flowNames.find((each) => each === name)
  if (flow === undefined) throw new UsageError(`--flow takes ${flowNames.join(', ')}, exchange, not "${name}".`)
  return flow
}

/** Chooses where nothing was forced: a browser where it would be in front of the person, else another device. */
export async function chooseFlow({
  env,
  platform,
  isTerminal,
  isContainer,
  hasDeviceCodes,
}: Surroundings): Promise<Choice> {
  if (!isTerminal) return { flow: null, why: 'there is no terminal' }
  const why = noBrowserBecause(env, platform, isContainer)
  if (why === null) return { flow: 'browser', why: 'there is a display' }
  return { flow: (await hasDeviceCodes()) ? 'device' : 'paste', why }
}

/** Why a browser that is opened here would not be in front of the person; null where it would. */
export function noBrowserBecause(
  env: Surroundings['env'],
  platform: NodeJS.Platform,
  isContainer: boolean,
): string | null {
  const has = (name: string): boolean => (env[name] ?? '') !== ''
  if (has('SSH_CONNECTION') || has('SSH_TTY') || has('SSH_CLIENT')) return 'this is an SSH session'
  if (has('CI')) return 'this is a CI job'
  if (isContainer) return 'this is a container'
  const isShown = ['DISPLAY', 'WAYLAND_DISPLAY', 'WSL_DISTRO_NAME'].some(has)
  return platform === 'darwin' || platform === 'win32' || isShown ? null : 'there is no display'
}
