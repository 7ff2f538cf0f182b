import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { JsonObject } from '../credential.ts'
import { AuthkeepError } from '../errors.ts'
import type { Change, CommitResult, StoreBackend, Versioned } from './backend.ts'
import { install, schemaVersion } from './postgres-schema.ts'

/** What runs SQL: a Pool or Client of `pg`, or anything else of this shape. */
export interface SqlClient {
  /** Runs one statement with its parameters (`$1`, `$2`, …). */
  query(text: string, values?: unknown[]): Promise<{ readonly rows: readonly unknown[] }>
}

/** A connection of its own for LISTEN; a Client of `pg`, connected. Whoever made it ends it. */
export interface ListeningClient extends SqlClient {
  /** Hears of notifications. */
  on(
    event: 'notification',
    listener: (message: { readonly channel: string; readonly payload?: string | undefined }) => void,
  ): unknown
}

/** How a `postgresBackend` reaches its tables. */
export interface PostgresOptions {
  /** Of the primary. A pooler in transaction mode will do: nothing is kept in a session. */
  readonly client: SqlClient
  /** Where the tables are; default `authkeep`. Created if it is missing and the role may. */
  readonly schema?: string
  /** Whose credentials these are, of several programs that share the tables; default `default`. */
  readonly namespace?: string
  /** Hears of changes at once. Without it changes are looked for every 20 to 200 ms while somebody waits. */
  readonly listen?: ListeningClient
  /** Uses a server that has `fsync` off, which may forget what it has acknowledged. */
  readonly acceptLoss?: boolean
}

/**
 * Credentials in PostgreSQL, for several machines. A commit is one statement: a function of ours that takes transaction
 * locks on its keys, in order, compares revisions and writes, or writes nothing.
 * What the server acknowledges is durable there (`synchronous_commit` is never weaker than `on`).
 *
 * @throws AuthkeepError from every method: `store_failed` where the server refuses (`errno` is the SQLSTATE) or cannot be
 *   reached; `write_indeterminate` from `commit` where the answer was lost; `store_corrupt` for a value that is no JSON
 *   object, or tables of a newer version. TypeError for a schema that is no plain identifier
 */
export function postgresBackend(options: PostgresOptions): StoreBackend {
  return new PostgresStore(options)
}

/** Serialization failure and deadlock: nothing was done, and the same may go well now. */
const retriable: ReadonlySet<string> = new Set(['40001', '40P01'])
const attempts = 5

class PostgresStore implements StoreBackend {
  readonly exclusion = 'cas'
  readonly #client: SqlClient
  readonly #schema: string
  readonly #namespace: string
  readonly #listen: ListeningClient | undefined
  readonly #acceptLoss: boolean
  readonly #wakes = new Map<string, Set<() => void>>()
  readonly #working = new Set<Promise<unknown>>()
  #ready: Promise<void> | undefined
  #listening: Promise<void> | undefined
  #isClosed = false

  constructor({ client, schema = 'authkeep', namespace = 'default', listen, acceptLoss = false }: PostgresOptions) {
    // It is part of the statements, where no parameter can stand.
    if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema)) throw new TypeError('a schema is a plain lower-case identifier')
    this.#client = client
    this.#schema = schema
    this.#namespace = namespace
    this.#listen = listen
    this.#acceptLoss = acceptLoss
  }

  async read(key: string): Promise<Versioned | null> {
    const text = `SELECT value, revision FROM ${this.#schema}.entries WHERE namespace = $1 AND key = $2`
    const rows = await this.#run('read', text, [this.#namespace, key])
    return rows[0] === undefined ? null : this.#versioned(key, rows[0])
  }

  async keys(): Promise<readonly string[]> {
    const rows = await this.#run('keys', `SELECT key FROM ${this.#schema}.entries WHERE namespace = $1`, [
      this.#namespace,
    ])
    return rows.map(({ key }) => String(key))
  }

  async commit(changes: readonly Change[]): Promise<CommitResult> {
    this.#assertOpen()
    const keys = changes.map(({ key }) => key)
    if (new Set(keys).size !== keys.length) throw new TypeError('a key occurs twice')
    const values = [
      ...[this.#namespace, keys],
      changes.map(({ next }) => (next === null ? null : JSON.stringify(next))),
      changes.map(({ expected }) => expected),
    ]
    const [stale] = await this.#run(
      'commit',
      `SELECT key, value, revision FROM ${this.#schema}.commit($1, $2::text[], $3::text[], $4::text[])`,
      values,
      keys[0],
    )
    if (stale === undefined) return { ok: true }
    const key = String(stale['key'])
    return { ok: false, key, current: stale['revision'] === null ? null : this.#versioned(key, stale) }
  }

  async waitForChange(key: string, since: string | null, timeoutMs: number): Promise<void> {
    this.#assertOpen()
    const deadline = performance.now() + timeoutMs
    await this.#listenOnce()
    for (let pauseMs = 20; !this.#isClosed; pauseMs = Math.min(pauseMs * 1.5, 200)) {
      const woken = this.#listen === undefined ? undefined : this.#wakened(key)
      try {
        if (((await this.read(key))?.revision ?? null) !== since) return
        const left = deadline - performance.now()
        if (left <= 0) return
        await Promise.race([delay(Math.min(left, pauseMs * (0.5 + Math.random()))), woken?.promise])
      } finally {
        woken?.forget()
      }
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.allSettled(this.#working)
  }

  // --- the server ------------------------------------------------------------------------------------------------

  async #run(
    operation: string,
    text: string,
    values: unknown[],
    written?: string,
  ): Promise<readonly Readonly<Record<string, unknown>>[]> {
    this.#assertOpen()
    const work = this.#attempt(operation, text, values, written)
    this.#working.add(work)
    return work.finally(() => this.#working.delete(work))
  }

  async #attempt(
    operation: string,
    text: string,
    values: unknown[],
    written: string | undefined,
  ): Promise<readonly Readonly<Record<string, unknown>>[]> {
    await this.#prepare()
    for (let attempt = 1; ; attempt++) {
      try {
        return (await this.#client.query(text, values)).rows as readonly Readonly<Record<string, unknown>>[]
      } catch (error) {
        const code = codeOf(error)
        if (retriable.has(code) && attempt < attempts) continue
        // Whether it was carried out, nobody knows: it may have been sent, and no answer came.
        if (written !== undefined && !isRefusal(error) && !wasNeverSent.has(code)) {
          throw new AuthkeepError('write_indeterminate', { key: written })
        }
        throw this.#failed(operation, code)
      }
    }
  }

  /** Once: looks what is there, and makes what is missing. A failure is forgotten, so that the next call tries again. */
  #prepare(): Promise<void> {
    this.#ready ??= install(this.#client, this.#schema).then(
      ({ version, fsync, isStandby }) => {
        if (isStandby) throw this.#failed('open', 'a standby')
        if (version > schemaVersion) {
          const what = `its tables are of version ${version}; this is authkeep for ${schemaVersion}`
          throw new AuthkeepError('store_corrupt', { path: this.#place, what })
        }
        if (!fsync && !this.#acceptLoss) throw this.#failed('open', 'fsync is off')
      },
      (error: unknown) => {
        throw this.#failed('open', codeOf(error))
      },
    )
    const ready = this.#ready
    ready.catch(() => {
      if (this.#ready === ready) this.#ready = undefined
    })
    return ready
  }

  get #place(): string {
    return `postgres:${this.#schema}/${this.#namespace}`
  }

  #failed(operation: string, errno: string): AuthkeepError {
    // A message of the server may quote what was sent.
    return new AuthkeepError('store_failed', { path: this.#place, operation, errno, unspent: true })
  }

  #versioned(key: string, row: Readonly<Record<string, unknown>>): Versioned {
    const value: unknown = parsed(String(row['value']))
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new AuthkeepError('store_corrupt', { path: this.#place, key, what: 'it is not a JSON object' })
    }
    return { value: value as JsonObject, revision: String(row['revision']) }
  }

  // --- notifications ---------------------------------------------------------------------------------------------

  /** Without it waiting is polling: a connection that cannot listen is no reason to fail. */
  #listenOnce(): Promise<void> {
    this.#listening ??= (async () => {
      if (this.#listen === undefined) return
      this.#listen.on('notification', ({ channel, payload }) => {
        if (channel === this.#schema) for (const wake of this.#wakes.get(payload ?? '') ?? []) wake()
      })
      await this.#listen.query(`LISTEN ${this.#schema}`).catch(() => undefined)
    })()
    return this.#listening
  }

  #wakened(key: string): { readonly promise: Promise<void>; forget(): void } {
    const name = createHash('md5').update(`${this.#namespace}\n${key}`).digest('hex')
    const wakes = this.#wakes.get(name) ?? new Set()
    this.#wakes.set(name, wakes)
    let wake: () => void = () => undefined
    const promise = new Promise<void>((resolve) => (wake = resolve))
    wakes.add(wake)
    return {
      promise,
      forget: () => {
        wakes.delete(wake)
        if (wakes.size === 0) this.#wakes.delete(name)
      },
    }
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new TypeError('the backend is closed')
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

/** Nothing has left: the connection was not made. */
const wasNeverSent: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ENOENT', 'EHOSTUNREACH'])

/** An SQLSTATE or an errno; never a message. */
function codeOf(error: unknown): string {
  const code = typeof error === 'object' && error !== null ? (error as { code?: unknown }).code : undefined
  return typeof code === 'string' && /^[A-Z0-9_]{3,32}$/.test(code) ? code : 'unknown error'
}

/**
 * Whether the server itself said that it did not do it: an SQLSTATE, save those of a connection that breaks (class 08),
 * of a server that goes down (57P01 to 57P03), and of an outcome that it does not know either (40003).
 */
function isRefusal(error: unknown): boolean {
  const code = codeOf(error)
  return /^[0-9A-Z]{5}$/.test(code) && !/^(08|57P0[123]|40003)/.test(code) && 'severity' in (error as object)
}
