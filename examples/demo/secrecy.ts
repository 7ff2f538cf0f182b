import { createHash } from 'node:crypto'

/** A name for a token by which it can be recognised and not used. */
export function fingerprint(token: string): string {
  return createHash('sha256').update(token).digest('hex').slice(0, 8)
}

const secrets = new Set(['accessToken', 'refreshToken', 'idToken', 'key', 'token'])

/** The credential file with every secret struck out, and all else as it is. */
export function redacted(text: string): unknown {
  return JSON.parse(text, (member, value: unknown) =>
    typeof value === 'string' && secrets.has(member) ? '[redacted]' : value,
  )
}

/** JSON for reading: short lists stay on one line. */
export function readable(json: unknown): string {
  return JSON.stringify(json, null, 2).replace(
    /^( *\S+ )\[\n([^[\]{}]+)\n *\]/gm,
    (whole, head: string, items: string) => {
      const line = `${head}[${items.trim().replaceAll(/,\n */g, ', ')}]`
      return line.length > 74 ? whole : line
    },
  )
}
