import { readdir } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { ForeignLogin, ForeignReader } from '../formats/foreign.ts'
import type { EnvironmentVariables } from './environment.ts'
import { ghHosts, keychainItem, textAt } from './other-places.ts'

/** Another program that keeps logins in a file of its own. */
export interface OtherProgram {
  readonly id: string
  readonly name: string
  /** Files, and other places that `text` reads. */
  readonly paths: readonly string[]
  readonly text: (path: string) => Promise<string>
  readonly load: () => Promise<ForeignReader>
  /** What a person should know before they use its logins elsewhere. */
  readonly notice?: string
}

/** @throws what reading the file does, and FormatError */
export async function readLogins(program: OtherProgram, path: string): Promise<readonly ForeignLogin[]> {
  const [read, text] = await Promise.all([program.load(), program.text(path)])
  return read(text)
}

/** The programs whose files can be read, and where those are on this machine. */
export async function otherPrograms(
  env: EnvironmentVariables,
  platform: NodeJS.Platform = process.platform,
): Promise<readonly OtherProgram[]> {
  const home = env['HOME'] ?? homedir()
  const data = env['XDG_DATA_HOME'] ?? join(home, '.local', 'share')
  const openClaw = env['OPENCLAW_STATE_DIR'] ?? join(home, '.openclaw')
  const gh = env['GH_CONFIG_DIR'] ?? join(env['XDG_CONFIG_HOME'] ?? join(home, '.config'), 'gh')
  const sso = join(home, '.aws', 'sso', 'cache')
  const keyed = async (): Promise<ForeignReader> => (await import('../formats/keyed-auth-json.ts')).readKeyedAuthJson
  const oauthCreds = async (): Promise<ForeignReader> => (await import('../formats/oauth-creds.ts')).readOauthCreds
  const text = (path: string): Promise<string> => textAt(path, env)
  const programs: readonly (Omit<OtherProgram, 'text'> & Partial<OtherProgram>)[] = [
    {
      ...{ id: 'codex', name: 'Codex', paths: [join(env['CODEX_HOME'] ?? join(home, '.codex'), 'auth.json')] },
      load: async () => (await import('../formats/codex-auth-json.ts')).readCodexAuthJson,
    },
    {
      ...{ id: 'claude-code', name: 'Claude Code' },
      paths: [
        ...(platform === 'darwin' ? [keychainItem('Claude Code-credentials')] : []),
        join(env['CLAUDE_CONFIG_DIR'] ?? join(home, '.claude'), '.credentials.json'),
      ],
      load: async () => (await import('../formats/claude-code-credentials.ts')).readClaudeCodeCredentials,
      notice: 'Anthropic restricts what other programs may do with the tokens of its subscriptions.',
    },
    { id: 'opencode', name: 'opencode', paths: [join(data, 'opencode', 'auth.json')], load: keyed },
    { id: 'gemini-cli', name: 'gemini-cli', paths: [join(home, '.gemini', 'oauth_creds.json')], load: oauthCreds },
    { id: 'qwen-code', name: 'qwen-code', paths: [join(home, '.qwen', 'oauth_creds.json')], load: oauthCreds },
    { id: 'pi', name: 'pi', paths: [join(home, '.pi', 'agent', 'auth.json')], load: keyed },
    {
      ...{ id: 'openclaw', name: 'OpenClaw' },
      paths: [
        join(openClaw, 'state', 'openclaw.sqlite'),
        ...(await namesIn(join(openClaw, 'agents'))).flatMap((agent) =>
          ['openclaw-agent.sqlite', 'auth-profiles.json'].map((name) => join(openClaw, 'agents', agent, 'agent', name)),
        ),
      ],
      load: async () => (await import('../formats/openclaw-auth-profiles.ts')).readOpenClawAuthProfiles,
    },
    {
      ...{ id: 'gh', name: 'gh', paths: [join(gh, 'hosts.yml')], text: (path: string) => ghHosts(path, env) },
      load: async () => (await import('../formats/gh-hosts.ts')).readGhHosts,
    },
    {
      ...{ id: 'aws-sso', name: 'AWS SSO' },
      paths: (await namesIn(sso)).filter((name) => /^[0-9a-f]{40}\.json$/.test(name)).map((name) => join(sso, name)),
      load: async () => (await import('../formats/aws-sso-cache.ts')).readAwsSsoCache,
    },
  ]
  return programs.map((program) => ({ text, ...program }))
}

async function namesIn(directory: string): Promise<readonly string[]> {
  return (await readdir(directory).catch((): string[] => [])).sort()
}
