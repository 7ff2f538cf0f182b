import type { BrokerClass } from './world.ts'

/** The broker, or a mutant of it, with all of itself loaded: loading takes turns that no scheduler owns. */
export async function load(mutant?: string): Promise<BrokerClass> {
  const query = mutant === undefined ? '' : `?mutant=${encodeURIComponent(mutant)}`
  const { TokenBroker } = (await import(/* @vite-ignore */ `../../src/broker/broker.ts${query}`)) as {
    TokenBroker: BrokerClass
  }
  await import(/* @vite-ignore */ `../../src/broker/serving.ts${query}`)
  return TokenBroker
}
