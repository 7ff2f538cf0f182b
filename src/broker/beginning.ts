/** How much of a body is read. `until`: what has been read so far is enough. */
export interface Limits {
  readonly bytes: number
  readonly ms: number
  readonly until?: (text: string) => boolean
}

/**
 * The first part of the body of a response, which stays unread for its owner: that of one that was read already is
 * empty. Ends at the limits, whatever is still to come.
 *
 * Rejects with what the body breaks with; its owner will meet the same.
 */
export async function beginningOf(response: Response, { bytes, ms, until }: Limits): Promise<string> {
  const isFree = !response.bodyUsed && response.body?.locked === false
  const copy: ReadableStream<Uint8Array> | null = isFree ? response.clone().body : null
  const reader = copy?.getReader()
  if (reader === undefined) return ''
  const decoder = new TextDecoder()
  let text = ''
  let left = bytes
  const signal = AbortSignal.timeout(ms)
  const late = new Promise<{ done: true; value?: undefined }>((resolve) =>
    signal.addEventListener('abort', () => resolve({ done: true }), { once: true }),
  )
  try {
    while (left > 0 && until?.(text) !== true) {
      const { done, value } = await Promise.race([reader.read(), late])
      if (done) break
      text += decoder.decode(value.subarray(0, left), { stream: true })
      left -= value.length
    }
    return text
  } finally {
    // Not awaited: of two copies of a body, cancelling one is finished when the other is, too.
    reader.cancel().catch(() => undefined)
  }
}
