import { describe, expect, it } from 'vitest'
import { readAwsSsoCache } from '../../src/formats/aws-sso-cache.ts'
import { readClaudeCodeCredentials } from '../../src/formats/claude-code-credentials.ts'
import { readCodexAuthJson } from '../../src/formats/codex-auth-json.ts'
import type { ForeignReader } from '../../src/formats/foreign.ts'
import { readGhHosts } from '../../src/formats/gh-hosts.ts'
import { readKeyedAuthJson } from '../../src/formats/keyed-auth-json.ts'
import { readOauthCreds } from '../../src/formats/oauth-creds.ts'
import { readOpenClawAuthProfiles } from '../../src/formats/openclaw-auth-profiles.ts'

const jwt = (claims: object): string => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`
const readers: Readonly<Record<string, ForeignReader>> = {
  codex: readCodexAuthJson,
  'claude-code': readClaudeCodeCredentials,
  keyed: readKeyedAuthJson,
  openclaw: readOpenClawAuthProfiles,
  'oauth-creds': readOauthCreds,
  'aws-sso': readAwsSsoCache,
  gh: (text) => readGhHosts(text && `${text}\n`),
}

function read(reader: string, content: unknown): readonly unknown[] {
  return (readers[reader]?.(JSON.stringify(content)) ?? []).map(({ secret, refreshToken, idToken, ...rest }) => ({
    ...rest,
    secret: secret.reveal(),
    refreshToken: refreshToken?.reveal() ?? null,
    idToken: idToken?.reveal() ?? null,
  }))
}
const bare = { refreshToken: null, expiresAt: null, scopes: [], idToken: null }

describe('logins of other programs', () => {
  const access = jwt({ exp: 1_790_000_000, scp: ['openid', 'api.read'] })
  it.each([
    [
      'codex',
      {
        auth_mode: 'chatgpt',
        OPENAI_API_KEY: null,
        tokens: { id_token: 'i', access_token: access, refresh_token: 'r' },
      },
      [
        {
          ...{
            name: 'chatgpt',
            type: 'oauth',
            provider: 'openai-codex',
            secret: access,
            refreshToken: 'r',
            idToken: 'i',
          },
          ...{ expiresAt: 1_790_000_000_000, scopes: ['api.read', 'openid'] },
        },
      ],
    ],
    [
      'codex',
      { OPENAI_API_KEY: 'sk' },
      [{ ...bare, name: 'api-key', type: 'api_key', provider: 'openai', secret: 'sk' }],
    ],
    [
      'claude-code',
      { claudeAiOauth: { accessToken: 'a', refreshToken: 'r', expiresAt: 5, scopes: ['x'] }, mcpOAuth: {} },
      [{ ...bare, name: 'claude', type: 'oauth', secret: 'a', refreshToken: 'r', expiresAt: 5, scopes: ['x'] }],
    ],
    ['claude-code', { claudeAiOauth: { accessToken: '', refreshToken: '', expiresAt: 0 } }, []],
    [
      'keyed',
      {
        anthropic: { type: 'oauth', refresh: 'r', access: 'a', expires: 5, accountId: 'x' },
        openai: { type: 'api', key: 'k' },
        old: { mode: 'api_key', apiKey: 'k2' },
        site: { type: 'wellknown', key: 'N', token: 't' },
        copilot: { type: 'oauth', refresh: 'g', access: 'g', expires: 0 },
        pending: { type: 'oauth', refresh: 'g', access: '', expires: 0 },
        strange: { type: 'new' },
        none: null,
      },
      [
        { ...bare, name: 'anthropic', type: 'oauth', secret: 'a', refreshToken: 'r', expiresAt: 5 },
        { ...bare, name: 'openai', type: 'api_key', secret: 'k' },
        { ...bare, name: 'old', type: 'api_key', secret: 'k2' },
        { ...bare, name: 'site', type: 'token', secret: 't' },
        { ...bare, name: 'copilot', type: 'oauth', secret: 'g', refreshToken: 'g' },
      ],
    ],
    [
      'openclaw',
      {
        version: 1,
        profiles: {
          'a:default': { type: 'oauth', provider: 'a', access: 'a', refresh: 'r', expires: 5 },
          'b:ci': { type: 'token', provider: 'b', token: 't' },
          'c:key': { type: 'api_key', provider: 'c', keyRef: { source: 'env' } },
          'd:fenced': { type: 'oauth', access: 'openclaw-oauth-refresh-fence:v1:x', refresh: 'r', expires: 1 },
        },
      },
      [
        { ...bare, name: 'a:default', type: 'oauth', secret: 'a', refreshToken: 'r', expiresAt: 5 },
        { ...bare, name: 'b:ci', type: 'token', secret: 't' },
      ],
    ],
    [
      'oauth-creds',
      { access_token: 'a', refresh_token: 'r', scope: 'x y', token_type: 'Bearer', id_token: 'i', expiry_date: 5 },
      [
        {
          ...{ name: 'default', type: 'oauth', secret: 'a', refreshToken: 'r', idToken: 'i', expiresAt: 5 },
          scopes: ['x', 'y'],
        },
      ],
    ],
    [
      'aws-sso',
      { startUrl: 'https://x.awsapps.com/start', accessToken: 'a', expiresAt: '2026-11-22T10:00:00Z' },
      [
        {
          ...bare,
          name: 'https://x.awsapps.com/start',
          type: 'oauth',
          secret: 'a',
          expiresAt: Date.UTC(2026, 10, 22, 10),
        },
      ],
    ],
    [
      'aws-sso',
      { accessToken: 'a', expiresAt: '2020-06-17T10:02:08UTC', clientId: 'c', region: 'x' },
      [
        {
          ...{ ...bare, name: 'default', type: 'oauth', secret: 'a', clientId: 'c' },
          expiresAt: Date.UTC(2020, 5, 17, 10, 2, 8),
        },
      ],
    ],
    ['aws-sso', { clientId: 'c', clientSecret: 's', expiresAt: '2026-11-22T10:00:00Z' }, []],
    [
      'gh',
      {
        'github.com': { oauth_token: 'g', user: 'u', users: { u: { oauth_token: 'g' } } },
        'ghe.example': { oauth_token: 'h' },
        'keyring.example': { user: 'u' },
      },
      [
        { ...bare, name: 'github.com', type: 'token', provider: 'github', secret: 'g' },
        { ...bare, name: 'ghe.example', type: 'token', secret: 'h' },
      ],
    ],
  ])('%s: %j', (reader, content, logins) => expect(read(reader, content)).toEqual(logins))

  it.each(Object.entries(readers))(
    '%s: what is no such file is an error that quotes nothing, or holds none',
    (_, reader) => {
      for (const text of ['', '{"access_token": "secret', '["secret"]', 'null']) {
        expect(() => reader(text)).toThrow(expect.objectContaining({ name: 'FormatError' }))
        expect(() => reader(text)).not.toThrow(/secret/)
      }
      expect(reader('{"unknown": {"type": "secret"}}')).toEqual([])
    },
  )

  it.each([
    ['that does not say when', {}],
    ['that says it in words', { expiresAt: 'secret' }],
  ])('aws-sso: a token %s it expires would live for ever', (_, members) => {
    const text = JSON.stringify({ accessToken: 'secret', ...members })
    expect(() => readAwsSsoCache(text)).toThrow('it does not say when its token expires')
  })

  it('gh: what ends in the middle of a line is cut, though it is YAML', () => {
    expect(() => readGhHosts('github.com:\n    oauth_token: gho_sec')).toThrow('it ends in the middle of a line')
    expect(() => readGhHosts('github.com:\n    oauth_token: "secret\n')).toThrow('it is not YAML')
  })
})
