import { type CredentialKey, keyName } from '../credential.ts'

/** The work that waits for one credential. */
interface Lineage {
  tail: Promise<unknown>
  readonly flights: Map<string, Promise<unknown>>
}

/**
 * Work on one credential goes one after the other, whatever scopes and resources it is for: it would spend the same
 * refresh token. Work of the same name, which wants the same thing, shares one place.
 */
export class Turns {
  readonly #lineages = new Map<string, Lineage>()

  take<T>(key: CredentialKey, name: string, work: () => Promise<T>): Promise<T> {
    const lineage: Lineage = this.#lineages.get(keyName(key)) ?? { tail: Promise.resolve(), flights: new Map() }
    this.#lineages.set(keyName(key), lineage)
    const underWay = lineage.flights.get(name)
    if (underWay !== undefined) return underWay as Promise<T>
    const answer = lineage.tail.then(work)
    lineage.flights.set(name, answer)
    lineage.tail = answer
      .catch(() => undefined)
      .finally(() => {
        lineage.flights.delete(name)
        if (lineage.flights.size === 0) this.#lineages.delete(keyName(key))
      })
    return answer
  }

  /** Resolves when all that has been taken has ended. */
  async settled(): Promise<void> {
    await Promise.allSettled([...this.#lineages.values()].map(({ tail }) => tail))
  }
}
