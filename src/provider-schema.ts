import type { infer as Inferred, ZodType, z } from 'zod'
import { compilePattern, cookieName } from './endpoint.ts'
import { AuthkeepError } from './errors.ts'
import { nearestName } from './nearest.ts'
import { checkProvider, isSecureUrl, type Provider } from './provider.ts'

type Zod = typeof z

/** What `parseProvider` does. */
export async function parseWithSchema(data: unknown, source: string): Promise<Provider> {
  const { z } = await import('zod')
  const { shapes, schema } = schemaOf(z)
  const parsed = schema.safeParse(data)
  if (!parsed.success) {
    const problems = parsed.error.issues.flatMap((issue) => {
      const path = issue.path.map(String)
      if (issue.code !== 'unrecognized_keys') return [`${path.join('.') || 'provider'}: ${issue.message}`]
      const place = path.filter((step) => !/^\d+$/.test(step)).join('.')
      const known = Object.keys(shapes[place as keyof typeof shapes])
      return issue.keys.map((key) => `${[...path, key].join('.')}: is not a member${didYouMean(key, known)}`)
    })
    throw new AuthkeepError('provider_invalid', { source, problems: [...new Set(problems)] })
  }
  checkProvider(parsed.data, source)
  return parsed.data satisfies Agreed
}

/** The JSON Schema (draft 2020-12) of a provider file, for editors. Rules that it cannot say, `parseProvider` checks. */
export async function providerJsonSchema(): Promise<object> {
  const { z } = await import('zod')
  return { title: 'A provider of authkeep', ...z.toJSONSchema(schemaOf(z).schema, { io: 'input' }) }
}

function didYouMean(word: string, names: readonly string[]): string {
  const nearest = nearestName(word, names)
  return nearest === undefined ? ` (known: ${names.join(', ')})` : `, did you mean ${nearest}?`
}

/** Parameters of the authorization request that the flow sets itself; a second opinion about them is an attack. */
const ownParameters: ReadonlySet<string> = new Set([
  'client_id',
  'client_secret',
  'code_challenge',
  'code_challenge_method',
  'dpop_jkt',
  'nonce',
  'redirect_uri',
  'request_uri',
  'resource',
  'response_type',
  'scope',
  'state',
])

/** What an exchange for an API key sends itself. */
const exchangeParameters: ReadonlySet<string> = new Set([
  'client_id',
  'client_secret',
  'grant_type',
  'subject_token',
  'subject_token_type',
])

// Inferred on purpose: the assertion below proves that what is inferred is `Provider`.
function schemaOf(z: Zod) {
  const text = (rule = 'must be a non-empty string') => z.string(rule).min(1, rule)
  const list = <T extends ZodType>(of: T) => z.array(of, 'must be a list').readonly()
  const record = <T extends ZodType>(of: T) => z.record(z.string(), of, 'must be an object').readonly()
  const oneOf = <const T extends readonly string[]>(...options: T) =>
    z.enum(options, `must be one of ${options.join(', ')}`)
  const url = (rule = 'must be an https URL (http only on loopback)') =>
    z.string(rule).refine((value) => URL.canParse(value) && isSecureUrl(new URL(value)), rule)
  // RFC 6749 §3.3; two scopes in one string are the commonest slip.
  const scope = () =>
    z.string('must be a string').regex(/^[\x21\x23-\x5B\x5D-\x7E]+$/, 'must be one scope, without spaces')
  const scopes = () => list(scope())
  const oneLine = () => z.string('must be a string').regex(/^[^\0-\x08\n-\x1F\x7F]*$/, 'must be one line')

  const client = {
    id: text(),
    secret: text().exactOptional(),
    scopes: scopes().exactOptional(),
    privateKey: z
      .looseObject(
        { kty: text(), alg: text().exactOptional(), kid: text().exactOptional() },
        'must be a private key as a JWK',
      )
      .refine((key) => typeof key['d'] === 'string', 'must be a private key as a JWK')
      .exactOptional(),
    authentication: oneOf('none', 'client_secret_post', 'client_secret_basic', 'private_key_jwt').exactOptional(),
  }
  const redirect = {
    host: oneOf('127.0.0.1', '[::1]', 'localhost').exactOptional(),
    ports: list(z.int('must be a port').min(0, 'must be a port').max(65_535, 'must be a port'))
      .refine((ports) => ports.length > 0, 'must name a port')
      .exactOptional(),
    path: z
      .string('must be a string')
      .regex(/^\/[^?#\s]*$/, 'must begin with / and have no query')
      .exactOptional(),
  }
  const milliseconds = z.number('must be milliseconds').nonnegative('must be milliseconds')
  const refresh = {
    encoding: oneOf('form', 'json').exactOptional(),
    rotation: z
      .union(
        [z.enum(['none', 'strict']), z.strictObject({ graceMs: milliseconds })],
        'must be none, strict or {"graceMs": milliseconds}',
      )
      .exactOptional(),
    narrowing: oneOf('honoured', 'ignored', 'destructive', 'silent').exactOptional(),
    deadErrors: list(text()).exactOptional(),
  }
  const headerName = /^[\w!#$%&'*+.^`|~-]+$/
  const revocation = { encoding: oneOf('form', 'json').exactOptional() }
  const status = () =>
    z.int('must be an HTTP status').min(100, 'must be an HTTP status').max(599, 'must be an HTTP status')
  const names = () =>
    list(text())
      .refine((all) => all.length > 0, 'must have a name')
      .exactOptional()
  const deviceMembers = {
    client_id: names(),
    scope: names(),
    device_code: names(),
    user_code: names(),
    verification_uri: names(),
    verification_uri_complete: names(),
    expires_in: names(),
    interval: names(),
    code: names(),
    code_verifier: names(),
  }
  const deviceLogin = {
    codeEndpoint: url(),
    pollEndpoint: url(),
    redirectUri: url(),
    verificationUri: url().exactOptional(),
    origins: list(
      url().refine(
        (value) => URL.canParse(value) && new URL(value).origin === value,
        'must be an origin, without a path',
      ),
    ).exactOptional(),
    encoding: oneOf('form', 'json').exactOptional(),
    codeParameters: list(oneOf('client_id', 'scope')).exactOptional(),
    pollParameters: list(oneOf('client_id', 'device_code', 'user_code')).exactOptional(),
    members: z.strictObject(deviceMembers, named('must be an object')).exactOptional(),
    pendingStatuses: list(status()).exactOptional(),
    disabledStatuses: list(status()).exactOptional(),
    lifetimeMs: milliseconds.exactOptional(),
  }
  const keyMembers = { redirect_uri: names(), code: names(), key: names() }
  const keyLogin = {
    encoding: oneOf('form', 'json').exactOptional(),
    authorizationParameters: list(oneOf('client_id', 'response_type', 'scope', 'state')).exactOptional(),
    exchangeParameters: list(oneOf('client_id', 'grant_type', 'redirect_uri', 'code_challenge_method')).exactOptional(),
    members: z.strictObject(keyMembers, named('must be an object')).exactOptional(),
  }
  const endpoint = {
    url: z.string('must be a string').superRefine((value, context) => {
      const { problem } = compilePattern(value)
      if (problem !== undefined) context.addIssue({ code: 'custom', message: problem })
    }),
    scopes: scopes().exactOptional(),
    resource: z
      .string('must be a URL')
      .refine((value) => URL.canParse(value) && !value.includes('#'), 'must be an absolute URL without fragment')
      .exactOptional(),
    audience: text().exactOptional(),
    acrValues: list(scope()).exactOptional(),
    maxAge: z.number('must be seconds').nonnegative('must be seconds').exactOptional(),
    accepts: list(oneOf('oauth', 'api_key', 'token')).exactOptional(),
    service: text().exactOptional(),
    baseUrl: url().exactOptional(),
    username: z
      .string('must be a string')
      .regex(/^[^:\p{Cc}]+$/u, 'must be a user name without a colon')
      .exactOptional(),
    models: list(text()).exactOptional(),
    cookies: list(
      z.string('must be a string').regex(cookieName, 'must be the name of a cookie, with a star only at its end'),
    ).exactOptional(),
    headers: record(oneLine())
      .superRefine((headers, context) => {
        for (const name of Object.keys(headers).filter((each) => !headerName.test(each))) {
          context.addIssue({ code: 'custom', path: [name], message: 'is not a header name' })
        }
      })
      .exactOptional(),
  }
  // Servers publish more members than we know; those that are talked to must be safe to talk to, known or not.
  const metadata = z
    .looseObject(
      {
        issuer: url().exactOptional(),
        authorization_endpoint: url().exactOptional(),
        device_authorization_endpoint: url().exactOptional(),
        token_endpoint: url().exactOptional(),
        revocation_endpoint: url().exactOptional(),
        introspection_endpoint: url().exactOptional(),
        jwks_uri: url().exactOptional(),
      },
      'must be an object',
    )
    .superRefine((members, context) => {
      for (const [name, value] of Object.entries(members)) {
        if (!name.endsWith('_endpoint') || url().safeParse(value).success) continue
        context.addIssue({ code: 'custom', path: [name], message: 'must be an https URL (http only on loopback)' })
      }
    })
    .exactOptional()
  const authorization = record(z.string('must be a string')).superRefine((parameters, context) => {
    for (const name of Object.keys(parameters).filter((name) => ownParameters.has(name))) {
      context.addIssue({ code: 'custom', path: [name], message: 'is set by the login itself' })
    }
  })
  const apiKeyExchange = {
    provider: z.string('must be the id of a provider').regex(/^[^:\s]+$/, 'must be the id of a provider'),
    subject: oneOf('id_token', 'access_token').exactOptional(),
    parameters: record(z.string('must be a string'))
      .superRefine((parameters, context) => {
        for (const name of Object.keys(parameters).filter((each) => exchangeParameters.has(each))) {
          context.addIssue({ code: 'custom', path: [name], message: 'is set by the exchange itself' })
        }
      })
      .exactOptional(),
  }
  const provider = {
    id: z.string('must be a word without a colon').regex(/^[^:\s]+$/, 'must be a word without a colon'),
    issuer: url(),
    metadata,
    client: z.strictObject(client, named('must be an object')).superRefine((value, context) => {
      if (value.authentication?.startsWith('client_secret') === true && value.secret === undefined) {
        context.addIssue({ code: 'custom', path: ['secret'], message: `is needed for ${value.authentication}` })
      }
      if (value.authentication === 'private_key_jwt' && value.privateKey === undefined) {
        context.addIssue({ code: 'custom', path: ['privateKey'], message: 'is needed for private_key_jwt' })
      }
    }),
    scopes: scopes().exactOptional(),
    optionalScopes: scopes().exactOptional(),
    scopeSeparator: oneOf(',').exactOptional(),
    redirect: z.strictObject(redirect, named('must be an object')).exactOptional(),
    authorization: authorization.exactOptional(),
    keyLogin: z.strictObject(keyLogin, named('must be an object')).exactOptional(),
    apiKeyExchange: z.strictObject(apiKeyExchange, named('must be an object')).exactOptional(),
    deviceLogin: z.strictObject(deviceLogin, named('must be an object')).exactOptional(),
    endpoints: list(z.strictObject(endpoint, named('must be an object'))).exactOptional(),
    refresh: z.strictObject(refresh, named('must be an object')).exactOptional(),
    revocation: z.strictObject(revocation, named('must be an object')).exactOptional(),
    apiKeyHeader: z.string('must be a string').regex(headerName, 'is not a header name').exactOptional(),
    accessTokens: oneOf('opaque', 'jwt').exactOptional(),
    tokenExchange: z.boolean('must be true or false').exactOptional(),
    pushedAuthorization: z.boolean('must be true or false').exactOptional(),
    dpop: z.union([z.boolean(), z.literal('required')], 'must be true, false or required').exactOptional(),
    environment: record(oneOf('api_key', 'token'))
      .superRefine((variables, context) => {
        for (const name of Object.keys(variables).filter((each) => !/^[A-Za-z_]\w*$/.test(each))) {
          context.addIssue({ code: 'custom', path: [name], message: 'is not the name of a variable' })
        }
      })
      .exactOptional(),
    implies: record(scopes()).exactOptional(),
  }
  return {
    /** The members known at each place, for the nearest to an unknown one. */
    shapes: {
      ...{ '': provider, client, redirect, refresh, revocation, endpoints: endpoint },
      ...{ keyLogin, 'keyLogin.members': keyMembers },
      ...{ deviceLogin, 'deviceLogin.members': deviceMembers, apiKeyExchange },
    },
    schema: z.strictObject(provider, named('must be an object')),
  }
}

/** A rule for a value of the wrong type that leaves the issue about unknown members its own shape. */
function named(rule: string): { error: (issue: { code?: string }) => string | undefined } {
  return { error: (issue) => (issue.code === 'invalid_type' ? rule : undefined) }
}

type Plain<T> = unknown extends T
  ? unknown
  : T extends readonly (infer Item)[]
    ? readonly Plain<Item>[]
    : T extends object
      ? { readonly [Member in keyof T]: Plain<T[Member]> }
      : T
// Two generic functions are assignable only when their conditions are identical, optional members included.
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the parameter is what makes it so
type Same<A, B> = (<X>() => X extends A ? 1 : 2) extends <X>() => X extends B ? 1 : 2 ? true : false

/** `never`, so that `parseProvider` does not compile, when the schema and the interface have drifted apart. */
type Agreed =
  Same<Plain<Inferred<ReturnType<typeof schemaOf>['schema']>>, Plain<Provider>> extends true ? Provider : never
