/** Adds one to an entry `{ count }` by read-modify-write, again and again until the commit is accepted. */
export class Increment {
  #backend
  #key
  constructor(backend, key) {
    this.#backend = backend
    this.#key = key
  }

  /** @param {(value: Record<string, any>) => Record<string, any>} change */
  async run(change = (value) => ({ ...value, count: (value.count ?? 0) + 1 })) {
    for (;;) {
      const entry = await this.#backend.read(this.#key)
      const next = change(entry?.value ?? {})
      const result = await this.#backend.commit([{ key: this.#key, next, expected: entry?.revision ?? null }])
      if (result.ok) return next
    }
  }
}
