import { join } from 'node:path'
import { homedir } from './on-demand.ts'

/**
 * Where authkeep keeps things unless told otherwise: `AUTHKEEP_HOME`, else `authkeep` in `XDG_CONFIG_HOME`, else
 * `~/.config/authkeep` (`%APPDATA%\authkeep` on Windows).
 */
export function homeDirectory(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const { AUTHKEEP_HOME: own, XDG_CONFIG_HOME: xdg, APPDATA: appData } = env
  if (own !== undefined && own !== '') return own
  if (process.platform === 'win32' && appData !== undefined) return join(appData, 'authkeep')
  // The XDG specification: a relative path there is to be ignored.
  return join(xdg?.startsWith('/') === true ? xdg : join(homedir(), '.config'), 'authkeep')
}

/** The default path of the credential file. */
export function defaultStorePath(): string {
  return join(homeDirectory(), 'auth.json')
}
