// What is run, and how the client must end in each: with the tool's answer, or with an error of authkeep.

/** `--suite auth`, the same at either revision. Not one may be missing from a run. */
const auth = [
  { name: 'auth/metadata-default', needs: 'resource metadata from the challenge; RFC 8414 at the root' },
  { name: 'auth/metadata-var1', needs: 'resource metadata below the path; OpenID configuration at the root' },
  { name: 'auth/metadata-var2', needs: 'resource metadata at the root; RFC 8414 of an issuer with a path' },
  { name: 'auth/metadata-var3', needs: 'resource metadata anywhere; OpenID configuration of an issuer with a path' },
  { name: 'auth/basic-cimd', needs: 'a client ID metadata document before a registration' },
  { name: 'auth/scope-from-www-authenticate', needs: 'the scope of the challenge' },
  { name: 'auth/scope-from-scopes-supported', needs: 'scopes_supported where the challenge has no scope' },
  { name: 'auth/scope-omitted-when-undefined', needs: 'no scope where nobody names one' },
  { name: 'auth/scope-step-up', needs: 'insufficient_scope: one more login, with the union' },
  {
    name: 'auth/scope-retry-limit',
    needs: 'insufficient_scope again and again: an end',
    ends: 'failed: Error: tools/list: HTTP 403',
  },
  { name: 'auth/token-endpoint-auth-basic', needs: 'registration; client_secret_basic; resource indicators' },
  { name: 'auth/token-endpoint-auth-post', needs: 'registration; client_secret_post; resource indicators' },
  { name: 'auth/token-endpoint-auth-none', needs: 'registration without a secret; resource indicators' },
  { name: 'auth/pre-registration', needs: 'a client that was registered before; the method that the server takes' },
]

/** What 2026-07-28 adds about authorization; its draft suite has more, about other things. */
const draft = [
  { name: 'auth/resource-mismatch', needs: 'metadata of another resource: refused', ends: 'refused: response_invalid' },
  { name: 'auth/offline-access-scope', needs: 'offline_access where the server has it' },
  { name: 'auth/offline-access-not-supported', needs: 'no offline_access where it does not' },
  { name: 'auth/authorization-server-migration', needs: 'another issuer: another registration, another login' },
  { name: 'auth/iss-supported', needs: 'RFC 9207: the right iss' },
  { name: 'auth/iss-not-advertised', needs: 'RFC 9207: no iss from a server that sends none' },
  {
    name: 'auth/iss-supported-missing',
    needs: 'RFC 9207: a missing iss is refused',
    ends: 'refused: response_invalid',
  },
  { name: 'auth/iss-wrong-issuer', needs: 'RFC 9207: a wrong iss is refused', ends: 'refused: response_invalid' },
  {
    name: 'auth/iss-unexpected',
    needs: 'RFC 9207: wrong and not announced is refused',
    ends: 'refused: response_invalid',
  },
  {
    name: 'auth/iss-normalized',
    needs: 'RFC 9207: one slash more is another issuer',
    ends: 'refused: response_invalid',
  },
  {
    name: 'auth/metadata-issuer-mismatch',
    needs: 'metadata of another issuer: refused',
    ends: 'refused: response_invalid',
  },
]

/** Extensions, of which we do these. */
const extensions = [
  { name: 'auth/client-credentials-jwt', needs: 'client credentials; private_key_jwt' },
  { name: 'auth/client-credentials-basic', needs: 'client credentials; client_secret_basic' },
  { name: 'auth/dpop', needs: 'tokens bound to a key (RFC 9449)' },
  { name: 'auth/dpop-nonce', needs: 'DPoP nonces of both servers' },
]

const suite = (name, version) => ['--suite', name, '--spec-version', version]

export const runs = [
  { at: '2025-11-25', options: suite('auth', '2025-11-25'), scenarios: auth },
  { at: '2026-07-28', options: suite('auth', '2026-07-28'), scenarios: auth },
  { at: '2026-07-28', options: suite('draft', '2026-07-28'), scenarios: draft },
  { at: 'extension', options: ['--suite', 'extensions'], scenarios: extensions },
]
