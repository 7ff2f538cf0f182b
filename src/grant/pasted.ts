import { AuthkeepError } from '../errors.ts'
import type { PreparedAuthorization } from './authorization-code.ts'

/** Asks a person for what their browser was sent back with. */
export interface PastePrompt {
  /**
   * Shows the authorization URL and resolves with what was pasted: the whole redirect URL, or the code alone. Asked again,
   * with the `problem` of what was pasted before, up to three times. `signal` ends a question that needs no answer any
   * more.
   */
  (url: URL, question: { readonly signal: AbortSignal; readonly problem?: string }): Promise<string>
}

/**
 * What was pasted, as the parameters of a redirect. Pure. The state is compared wherever there is one: in a URL, or after
 * the `#` of a code, as some servers show it. A code alone is taken on trust of PKCE: without our verifier it is
 * worthless, and with it no other login's code is exchanged (RFC 7636 §1).
 */
export function readPasted(
  pasted: string,
  { state, metadata }: Pick<PreparedAuthorization, 'state' | 'metadata'>,
): { readonly parameters: URLSearchParams } | { readonly problem: string } {
  const text = pasted.trim()
  const otherLogin = { problem: 'That belongs to another login.' }
  if (/^https?:\/\//i.test(text)) {
    const parameters = URL.canParse(text) ? new URL(text).searchParams : new URLSearchParams()
    if (!parameters.has('code') && !parameters.has('error'))
      return { problem: 'That is not the address the browser was sent back to: there is no code in it.' }
    return state === null || parameters.get('state') === state ? { parameters } : otherLogin
  }
  const [code = '', shown = state] = text.split('#')
  // RFC 6749 appendix A.11; a code that long is something else.
  if (!/^[\x21-\x7E]{1,4096}$/.test(code)) return { problem: 'That is neither an address nor a code.' }
  if (shown !== state) return otherLogin
  const parameters = new URLSearchParams(state === null ? { code } : { code, state })
  if (metadata['authorization_response_iss_parameter_supported'] === true) parameters.set('iss', metadata.issuer)
  return { parameters }
}

/** @throws AuthkeepError `response_invalid` when nothing usable was pasted; whatever `prompt` throws */
export async function askForRedirect(
  prepared: PreparedAuthorization,
  prompt: PastePrompt,
  signal: AbortSignal,
): Promise<URLSearchParams> {
  let problem: string | undefined
  for (let attempt = 0; attempt < 3; attempt++) {
    const pasted = await prompt(prepared.url, { signal, ...(problem === undefined ? {} : { problem }) })
    const read = readPasted(pasted, prepared)
    if ('parameters' in read) return read.parameters
    problem = read.problem
  }
  const what = 'what was pasted is not the redirect of this login'
  throw new AuthkeepError('response_invalid', { provider: prepared.provider.id, status: null, what })
}
