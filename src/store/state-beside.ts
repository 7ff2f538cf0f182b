import type { JsonObject } from '../credential.ts'
import type { Change, CommitResult, Versioned } from './backend.ts'
import type { Backup, StoreEvent, StoreReport } from './events.ts'
import type { FileBackend } from './file.ts'
import type { Spent } from './spent.ts'

/**
 * A file of another program, together with a native one beside it, `<file>.state`, for the keys that begin with a colon:
 * the program would take them for logins, or drop them. A commit is atomic in either file, and is refused where it
 * would change both.
 */
export class StateBeside implements FileBackend {
  readonly #entries: FileBackend
  readonly #openState: (target: string) => FileBackend
  #state: { readonly target: string; readonly backend: FileBackend } | undefined
  #seen: { readonly entries: unknown; readonly state: unknown } = { entries: undefined, state: undefined }

  constructor(entries: FileBackend, openState: (target: string) => FileBackend) {
    this.#entries = entries
    this.#openState = openState
  }

  get path(): string {
    return this.#entries.path
  }

  get target(): string {
    return this.#entries.target
  }

  get exclusion(): 'cas' | 'none' {
    return this.#entries.exclusion
  }

  get refreshOwner(): string | undefined {
    return this.#entries.refreshOwner
  }

  whileLocked<T>(run: (isHeld: () => boolean) => Promise<T>): Promise<T> {
    return this.#entries.whileLocked(run)
  }

  read(key: string): Promise<Versioned | null> {
    return this.#of(key).read(key)
  }

  async keys(): Promise<readonly string[]> {
    const [entries, state] = await Promise.all([this.#entries.keys(), this.#beside().keys()])
    return [...entries, ...state]
  }

  async version(): Promise<unknown> {
    const [entries, state] = await Promise.all([this.#entries.version(), this.#beside().version()])
    if (entries !== this.#seen.entries || state !== this.#seen.state) this.#seen = { entries, state }
    return this.#seen
  }

  async commit(changes: readonly Change[]): Promise<CommitResult> {
    const backends = new Set(changes.map(({ key }) => this.#of(key)))
    if (backends.size > 1) throw new TypeError('a commit changes credentials, or what is remembered beside them')
    const [backend = this.#entries] = backends
    return backend.commit(changes)
  }

  waitForChange(key: string, since: string | null, timeoutMs: number): Promise<void> {
    return this.#of(key).waitForChange(key, since, timeoutMs)
  }

  async close(): Promise<void> {
    await Promise.all([this.#entries.close(), this.#state?.backend.close()])
  }

  verify(): Promise<StoreReport> {
    return this.#entries.verify()
  }

  recover(options?: { startEmpty?: boolean }): Promise<StoreReport> {
    return this.#entries.recover(options)
  }

  backups(): Promise<readonly Backup[]> {
    return this.#entries.backups()
  }

  restore(id: string): Promise<StoreReport> {
    return this.#entries.restore(id)
  }

  rewriteOlder(change: (key: string, value: JsonObject) => Promise<JsonObject>): Promise<void> {
    return this.#entries.rewriteOlder(change)
  }

  spent(): Promise<Spent> {
    return this.#entries.spent()
  }

  noteSpent(fingerprint: string, at: number): Promise<void> {
    return this.#entries.noteSpent(fingerprint, at)
  }

  readCopy(key: string): Promise<JsonObject | null> {
    return this.#of(key).readCopy(key)
  }

  onEvent(listener: (event: StoreEvent) => void): Disposable {
    return this.#entries.onEvent(listener)
  }

  #of(key: string): FileBackend {
    return key.startsWith(':') ? this.#beside() : this.#entries
  }

  /** Beside the file itself, whatever links lead to it. */
  #beside(): FileBackend {
    const { target } = this
    if (this.#state?.target !== target) this.#state = { target, backend: this.#openState(target) }
    return this.#state.backend
  }
}
