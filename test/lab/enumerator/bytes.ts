/** `old` with `written` in it from `position` on; a gap in between reads as zeros. */
export function spliced(old: Uint8Array, written: Uint8Array, position: number): Uint8Array {
  const bytes = new Uint8Array(Math.max(old.byteLength, position + written.byteLength))
  bytes.set(old)
  bytes.set(written, position)
  return bytes
}

export function resized(old: Uint8Array, size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  bytes.set(old.subarray(0, size))
  return bytes
}
