import { describe, expect, it } from 'vitest'
import { readAwsSsoCache } from '../../src/formats/aws-sso-cache.ts'
import { readClaudeCodeCredentials } from '../../src/formats/claude-code-credentials.ts'
import { readCodexAuthJson } from '../../src/formats/codex-auth-json.ts'
import type { ForeignReader } from '../../src/formats/foreign.ts'
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
          ...{ name: 'chatgpt', type: 'oauth', secret: access, refreshToken: 'r', idToken: 'i' },
          ...{ expiresAt: 1_790_000_000_000, scopes: ['api.read', 'openid'] },
        },
      ],
    ],
    ['codex', { OPENAI_API_KEY: 'sk' }, [{ ...bare, name: 'api-key', type: 'api_key', secret: 'sk' }]],
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
        strange: { type: 'new' },
        none: null,
      },
      [
        { ...bare, name: 'anthropic', type: 'oauth', secret: 'a', refreshToken: 'r', expiresAt: 5 },
        { ...bare, name: 'openai', type: 'api_key', secret: 'k' },
        { ...bare, name: 'old', type: 'api_key', secret: 'k2' },
        { ...bare, name: 'site', type: 'token', secret: 't' },
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
})
