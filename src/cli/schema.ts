import type { ZodType, z } from 'zod'
import { providerJsonSchema } from '../provider-schema.ts'
import type { Context, Result } from './context.ts'

type Zod = typeof z

/** `authkeep schema`: what `--json` prints, as one JSON Schema with a definition per command; or that of a provider file. */
export async function schema({ options }: Context): Promise<Result> {
  const document = options['provider-file'] === true ? await providerJsonSchema() : await outputSchema()
  return { text: `${JSON.stringify(document, null, 2)}\n`, json: document }
}

/** The JSON Schema (draft 2020-12) of every command's output. */
export async function outputSchema(): Promise<object> {
  const { z } = await import('zod')
  const $defs = Object.fromEntries(
    Object.entries(outputs(z)).map(([name, type]) => {
      const { $schema: _, ...definition } = z.toJSONSchema(type)
      return [name, definition]
    }),
  )
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'What authkeep prints with --json: the definition of the command, or error',
    description:
      'Members may be added; none is taken away or changed within a major version. Times are Unix milliseconds.',
    $defs,
  }
}

/** What each command prints with `--json`, by its name; `error` is what any of them prints instead. */
export function outputs(z: Zod): Readonly<Record<string, ZodType>> {
  const text = z.string()
  const texts = z.array(text)
  const time = z.number()
  const key = { provider: text, account: text }
  const error = z.looseObject({
    code: text.describe('a code of docs/errors.md, or usage, cancelled, unexpected'),
    remedy: z.enum(['authorize', 'choose', 'retry', 'fix']),
    message: text,
    detail: z.looseObject({}),
  })
  const info = {
    ...key,
    type: z.enum(['oauth', 'api_key', 'token', 'unreadable']),
    scopes: texts.optional(),
    resources: texts.optional(),
    expiresAt: time.nullable().optional().describe('of the access token that lives longest'),
    refreshable: z.boolean().optional(),
    state: z.enum(['live', 'in_doubt', 'dead']).optional(),
    generation: z.number().optional(),
    issuer: text.optional(),
    subject: text.nullable().optional(),
    problem: text.optional(),
  }
  const backup = z.looseObject({ id: text, takenAt: time, entries: z.number() })
  const health = z.enum(['absent', 'valid', 'newer', 'damaged'])
  const report = z.looseObject({
    ...{ path: text, state: health, what: text.optional(), entries: z.number(), unreadable: texts, copy: health },
  })
  const action = z.enum(['use', 'refresh', 'exchange', 'reissue', 'authorize', 'unknown', 'unreadable'])
  const program = { program: text, path: text }
  const login = z.looseObject({ ...info, notGranted: texts.describe('asked for and not granted') })
  return {
    error: z.looseObject({ error: z.looseObject({ ...error.shape, next: text.describe('what to do, in a line') }) }),
    help: z.looseObject({ help: text }),
    version: z.looseObject({ version: text }),
    login: z.union([login, z.looseObject({ logins: z.array(login) })]),
    logout: z.looseObject({
      ...{ ...key, revoked: z.boolean(), forgotten: z.boolean(), reason: text.optional() },
    }),
    import: z.union([
      z.looseObject({
        imported: z.array(
          z.looseObject({
            ...{ ...program, entry: text, ...key, stored: z.boolean(), reason: text.optional() },
            ...{ type: text.optional(), mode: z.enum(['borrowed', 'taken over']).optional() },
          }),
        ),
      }),
      z.looseObject({
        found: z.array(
          z.looseObject({ ...program, entry: text, type: text, expiresAt: time.nullable(), refreshable: z.boolean() }),
        ),
        problems: texts,
      }),
    ]),
    accounts: z.looseObject({
      accounts: z.array(
        z.looseObject({ ...key, type: text, issuer: text.optional(), subject: text.nullable().optional() }),
      ),
    }),
    status: z.looseObject({
      store: text,
      chosenBy: z.enum(['AUTHKEEP_STORE', '--home', 'AUTHKEEP_HOME', 'XDG_CONFIG_HOME', 'default']),
      shadowed: z.array(z.looseObject({ path: text, by: text })),
      environment: z
        .array(z.looseObject({ provider: text, variable: text, type: text, shadows: texts }))
        .describe('credentials of the environment, and the stored ones that they go before'),
      overriding: texts.describe('ids of provider files in the place of what is built in'),
      credentials: z.array(
        z.looseObject({
          ...info,
          status: z.enum(['live', 'in doubt', 'login needed', 'unreadable']),
          source: text.describe('login, or the program and file that it was imported from'),
          sharedWith: z
            .array(z.looseObject({ program: text, path: text, entry: text }))
            .optional()
            .describe('files of other programs with the same refresh token'),
          rest: z
            .looseObject({ reason: text, until: time })
            .optional()
            .describe('that the account is left alone until then, after a limit of its own'),
        }),
      ),
    }),
    token: z.looseObject({
      ...{ token: text, type: text, account: text, scopes: texts, resource: text.nullable() },
      expiresAt: time.nullable(),
    }),
    exec: z.looseObject({ exitCode: z.number(), signal: text.nullable() }),
    explain: z.looseObject({
      ...{ target: text, verdict: action, reason: text },
      requirement: z.looseObject({ scopes: texts, resource: text.nullable(), accepts: texts }).nullable(),
      routes: z
        .array(z.looseObject({ provider: text, endpoint: text.optional(), accepts: texts, scopes: texts }))
        .describe('what each provider that declares the target wants there'),
      candidates: z.array(
        z.looseObject({
          ...{ ...key, type: text, verdict: action, reason: text },
          never: z.looseObject({ scopes: texts, clientId: text, obtainable: texts }).optional(),
        }),
      ),
      alternatives: z
        .array(
          z.looseObject({
            ...{ provider: text, account: text.optional(), endpoint: text, baseUrl: text, isReady: z.boolean() },
            ...{ command: text.optional(), text },
          }),
        )
        .describe('what would work instead, what needs nothing first'),
      error: error.optional(),
      problems: z.array(error),
    }),
    route: z.looseObject({
      ...{ service: text, ...key, kind: z.enum(['oauth', 'api_key', 'token']), endpoint: text, baseUrl: text },
      ...{ reason: text, headers: texts.describe('their names') },
      passedOver: z.array(
        z.looseObject({ provider: text, account: text.optional(), endpoint: text, baseUrl: text, reason: text }),
      ),
    }),
    order: z.looseObject({
      ...{ provider: text, order: z.union([texts, z.enum(['last_good', 'round_robin'])]).nullable() },
      resting: z.array(z.looseObject({ account: text, reason: text, until: time })),
    }),
    'providers add': z.looseObject({ provider: text, path: text, hosts: texts, changed: z.boolean() }),
    'providers list': z.looseObject({
      directory: text,
      providers: z.array(
        z.looseObject({
          id: text,
          issuer: text,
          clientId: text,
          scopes: texts,
          endpoints: texts,
          source: z.enum(['built in', 'file']),
        }),
      ),
      overriding: texts.describe('ids of files in the place of what is built in'),
      incomplete: z.array(
        z.looseObject({ id: text, set: text.describe('the environment variable for the id of your client') }),
      ),
      problems: z.array(error),
    }),
    doctor: z.looseObject({
      ok: z.boolean(),
      checks: z.array(z.looseObject({ name: text, ok: z.boolean(), finding: text })),
      report,
      elsewhere: z.array(z.looseObject(program)),
    }),
    restore: z.union([z.looseObject({ backups: z.array(backup) }), z.looseObject({ restored: text, report })]),
    copy: z.looseObject({
      ...{ from: text, to: text, entries: z.number() },
      before: z.number().describe('how many of them were there already'),
    }),
    encrypt: z.looseObject({
      ...{ sealed: z.number().describe('how many logins'), key: text.describe('its id'), source: text },
      quarantined: texts.describe('damaged files that are kept as they were'),
    }),
    decrypt: z.looseObject({ unsealed: z.number() }),
    'rotate-key': z.union([z.looseObject({ sealed: z.number(), key: text }), z.looseObject({ forgotten: texts })]),
    completion: z.union([
      z.looseObject({ shell: text, script: text }),
      z.looseObject({ shell: text, files: z.boolean(), offered: z.array(z.looseObject({ word: text, about: text })) }),
    ]),
    schema: z.looseObject({ $schema: text }),
  }
}
