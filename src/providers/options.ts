import type { ProviderClient } from '../provider.ts'

/** The program that logs in. */
export interface Product {
  /** What it calls itself to servers that ask for a name; default `authkeep`. Never somebody else's name. */
  readonly product?: string
}

/** A client that whoever logs in has registered at the server. */
export interface OwnClient {
  readonly client: ProviderClient
}
