import type { Process } from '../owner.ts'
import type { CredentialStore } from '../store/store.ts'
import type { Clock } from './clock.ts'
import type { RefreshTiming } from './lease.ts'
import type { Leases } from './leases.ts'

/** What the leases are written with. */
export interface LeaseTools {
  readonly store: CredentialStore
  readonly clock: Clock
  readonly timing: RefreshTiming
  /** Who we are to other processes. */
  readonly process: Process
}

/** What everything that spends, keeps or ends a refresh token works with. */
export interface Workbench extends LeaseTools {
  readonly fetch: typeof fetch
  readonly leases: Leases
}
