import { declaredHosts } from '../endpoint.ts'
import type { Context, Result } from './context.ts'
import { clientVariable, knownProviders } from './known-providers.ts'
import { providersPath, sayProblems } from './open-home.ts'
import { harmless, table } from './output.ts'

/** `authkeep providers list`: what is known, and which files are not used and why. Never a client secret. */
export async function providersList(context: Context): Promise<Result> {
  const directory = providersPath(context.home)
  const known = await knownProviders(directory, context.env, { full: true })
  const { providers, problems, builtIn, overriding, incomplete } = known
  await sayProblems(context, problems)
  const json = {
    directory,
    providers: providers.map(({ id, issuer, client, scopes = [], endpoints = [] }) => ({
      ...{ id, issuer, clientId: client.id, scopes, source: builtIn.has(id) ? 'built in' : 'file' },
      endpoints: endpoints.map(({ url }) => url),
    })),
    overriding,
    incomplete: incomplete.map(({ id }) => ({ id, set: clientVariable(id) })),
    problems,
  }
  const rows = providers.map(({ id, issuer, endpoints = [], scopes = [] }) => [
    id,
    builtIn.has(id) ? 'built in' : 'file',
    issuer,
    declaredHosts(endpoints).join(' '),
    scopes.join(' '),
  ])
  const lines = [
    table(['PROVIDER', 'FROM', 'ISSUER', 'TOKENS GO TO', 'SCOPES'], rows, context.columns),
    ...overriding.map((id) => harmless(`${id} is what the file says, not what is built in.`)),
    ...incomplete.map(({ id }) => `${id} is built in too, for a client of your own: set ${clientVariable(id)}.`),
  ]
  return { text: `${lines.join('\n')}\n`, json }
}
