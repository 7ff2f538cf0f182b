import type { Provider, ProviderClient } from '../provider.ts'
import { anthropic } from './anthropic.ts'
import { github } from './github.ts'
import { google } from './google.ts'
import { openai } from './openai.ts'
import { openaiCodex } from './openai-codex.ts'
import { openrouter } from './openrouter.ts'
import type { Product } from './options.ts'

/** What makes the providers that are shipped complete. */
export interface BuiltInOptions extends Product {
  /** Your client at a server that wants you to register one, by the id of the provider. */
  readonly clientOf?: (id: string) => ProviderClient | undefined
}

/** The providers that are shipped. */
export interface BuiltInProviders {
  readonly providers: readonly Provider[]
  /** Those that cannot be used, because they want a client of your own and `clientOf` has none. */
  readonly incomplete: readonly Provider[]
}

/** Everything that is shipped, as a broker takes it. Each is also there by itself. */
export function builtInProviders({ product = 'authkeep', clientOf }: BuiltInOptions = {}): BuiltInProviders {
  const providers = [openaiCodex, openai, anthropic, openrouter].map((make) => make({ product }))
  const incomplete: Provider[] = []
  for (const make of [github, google]) {
    const template = make({ client: { id: '' } })
    const client = clientOf?.(template.id)
    if (client === undefined) incomplete.push(template)
    else providers.push(make({ client }))
  }
  return { providers, incomplete }
}
