/**
 * Text from outside made safe to print: one line, at most 200 printable characters, and nothing at all if it repeats
 * one of `secrets`.
 */
export function printable(text: unknown, secrets: readonly string[] = []): string | undefined {
  if (typeof text !== 'string') return undefined
  const clean = text.replace(/[\p{C}\p{Zl}\p{Zp}]+/gu, '')
  const bare = clean.replace(/\s+/g, '')
  const isRepeated = (secret: string): boolean =>
    [secret.replace(/\s+/g, ''), encodeURIComponent(secret)].some((each) => each !== '' && bare.includes(each))
  if (secrets.some(isRepeated)) return undefined
  const short = Array.from(clean.replace(/\s+/g, ' ').trim()).slice(0, 200).join('')
  return short === '' ? undefined : short
}
