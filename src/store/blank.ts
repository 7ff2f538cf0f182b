/** The four characters that JSON allows around a document; each carries two bits. */
const alphabet = Buffer.from(' \t\n\r')
const valueOf = new Map([...alphabet].map((code, value) => [code, value]))

/** Bytes spelled in JSON white space, four characters a byte: invisible to every JSON parser. */
export function encodeBlank(bytes: Uint8Array): Buffer {
  const text = Buffer.alloc(bytes.byteLength * 4)
  for (const [index, byte] of bytes.entries()) {
    for (let pair = 0; pair < 4; pair++) text[index * 4 + pair] = alphabet[(byte >> (6 - 2 * pair)) & 3] ?? 0
  }
  return text
}

/** The inverse; null when something in there is not white space, or the length is not a multiple of four. */
export function decodeBlank(text: Uint8Array): Buffer | null {
  if (text.byteLength % 4 !== 0) return null
  const bytes = Buffer.alloc(text.byteLength / 4)
  for (const [index, code] of text.entries()) {
    const value = valueOf.get(code)
    if (value === undefined) return null
    bytes[index >> 2] = ((bytes[index >> 2] ?? 0) << 2) | value
  }
  return bytes
}
