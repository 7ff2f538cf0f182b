import type { OAuthCredential } from '../credential.ts'
import { endpointOf } from '../grant/configuration.ts'
import { discover } from '../grant/discovery.ts'
import type { AuthorizationServerMetadata, Provider } from '../provider.ts'
import { isElsewhere, isMeasured, measureSkew, skewOf, timeAt } from './skew.ts'
import type { Workbench } from './workbench.ts'

/** A provider, and what its server says of itself. */
export interface Server {
  readonly provider: Provider
  readonly metadata: AuthorizationServerMetadata
}

/** The servers that were asked, remembered as long as this lives; a failure is not. */
export class Servers {
  readonly #fetch: typeof fetch
  readonly #metadata = new Map<Provider, Promise<AuthorizationServerMetadata>>()

  constructor(send: typeof fetch) {
    this.#fetch = send
  }

  /** @throws AuthkeepError `server_unavailable`, `response_invalid` */
  async of(provider: Provider): Promise<Server> {
    let metadata = this.#metadata.get(provider)
    if (metadata === undefined) {
      metadata = discover(provider, { fetch: this.#fetch })
      this.#metadata.set(provider, metadata)
      metadata.catch(() => this.#metadata.delete(provider))
    }
    return { provider, metadata: await metadata }
  }
}

/**
 * The times of the entry are of another machine's clock, and nobody has told this process yet how right its own one is:
 * what has expired for the one may live for the other. Asks the server for the time, once, and says whether the entry
 * has to be judged anew.
 */
export async function hasLearnedTheTime(
  seen: OAuthCredential,
  { provider, metadata }: Server,
  { process, fetch, clock }: Pick<Workbench, 'process' | 'fetch' | 'clock'>,
): Promise<boolean> {
  if (isMeasured(seen.issuer) || !isElsewhere(seen, process)) return false
  const time = await timeAt(endpointOf(provider, metadata, 'token_endpoint').href, fetch)
  if (time !== null) measureSkew(seen.issuer, time, clock.now())
  return skewOf(seen.issuer) !== 0
}
