import type { Adapter, AdapterPayload } from 'oidc-provider'

/** Where one authorization server keeps its state: in memory, shared with no other server of the process. */
export interface Memory {
  readonly adapter: (model: string) => Adapter
  clear(): void
}

export function createMemory(): Memory {
  const entries = new Map<string, AdapterPayload>()
  const find = (model: string, matches: (payload: AdapterPayload) => boolean): AdapterPayload | undefined => {
    for (const [key, payload] of entries) if (key.startsWith(`${model}:`) && matches(payload)) return payload
    return undefined
  }
  const adapter = (model: string): Adapter => {
    const key = (id: string): string => `${model}:${id}`
    return {
      upsert: (id, payload) => {
        entries.set(key(id), payload)
        return Promise.resolve()
      },
      find: (id) => Promise.resolve(entries.get(key(id))),
      findByUid: (uid) => Promise.resolve(find(model, (payload) => payload.uid === uid)),
      findByUserCode: (code) => Promise.resolve(find(model, (payload) => payload.userCode === code)),
      consume: (id) => {
        const payload = entries.get(key(id))
        if (payload !== undefined) payload.consumed = Math.floor(Date.now() / 1000)
        return Promise.resolve()
      },
      destroy: (id) => {
        entries.delete(key(id))
        return Promise.resolve()
      },
      revokeByGrantId: (grantId) => {
        for (const [id, payload] of entries) if (payload.grantId === grantId) entries.delete(id)
        return Promise.resolve()
      },
    }
  }
  return { adapter, clear: () => entries.clear() }
}
