/** What a store tells those who watch it. Never a secret. */
export type StoreEvent =
  /** This process has committed; `keys` are `provider:account`. */
  | { readonly type: 'changed'; readonly keys: readonly string[] }
  /** A damaged file was brought back. Its bytes are kept in `quarantine`, unless it was gone. */
  | {
      readonly type: 'recovered'
      readonly path: string
      readonly what: string
      readonly restoredFrom: string | null
      readonly quarantine: string | null
    }

/** How a store is. `state` speaks of the file itself, `copy` of the second one. */
export interface StoreReport {
  readonly path: string
  readonly state: 'absent' | 'valid' | 'newer' | 'damaged'
  readonly what?: string
  readonly entries: number
  /** Keys of entries that cannot be read; they block nothing but themselves. */
  readonly unreadable: readonly string[]
  readonly copy: 'absent' | 'valid' | 'newer' | 'damaged'
}

/** A state of the store that can be gone back to. */
export interface Backup {
  readonly id: string
  readonly takenAt: number
  readonly entries: number
}

/** Calls a listener. What it throws is its own trouble: it surfaces as an uncaught exception, and no commit fails of it. */
export function tell(listener: (event: StoreEvent) => void, event: StoreEvent): void {
  try {
    listener(event)
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}
