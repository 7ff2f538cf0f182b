import { declaredHosts } from '../endpoint.ts'
import { loadProviders } from '../provider-files.ts'
import type { Context, Result } from './context.ts'
import { providersPath, sayProblems } from './open-home.ts'
import { harmless, table } from './output.ts'

/** `authkeep providers list`: what is known, and which files are not used and why. Never a client secret. */
export async function providersList(context: Context): Promise<Result> {
  const directory = providersPath(context.home)
  const { providers, problems } = await loadProviders(directory, { full: true })
  await sayProblems(context, problems)
  const json = {
    directory,
    providers: providers.map(({ id, issuer, client, scopes = [], endpoints = [] }) => ({
      ...{ id, issuer, clientId: client.id, scopes },
      endpoints: endpoints.map(({ url }) => url),
    })),
    problems,
  }
  if (providers.length === 0) return { text: `There are no providers in ${harmless(directory)}.\n`, json }
  const rows = providers.map(({ id, issuer, endpoints = [], scopes = [] }) => [
    id,
    issuer,
    declaredHosts(endpoints).join(' '),
    scopes.join(' '),
  ])
  return { text: `${table(['PROVIDER', 'ISSUER', 'TOKENS GO TO', 'SCOPES'], rows, context.columns)}\n`, json }
}
