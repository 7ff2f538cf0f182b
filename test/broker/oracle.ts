import { domainToASCII } from 'node:url'

/**
 * Whether a pattern covers what arrived at a server, judged step by step and without what the broker is made of: no URL,
 * no regular expression that is made from the pattern. Slow, and stricter than it need be about what it does not know.
 */
export function isCovered(pattern: string, origin: string, target: string): boolean {
  const declared = split(pattern)
  const arrived = split(origin + target)
  if (declared === null || arrived === null || declared.scheme !== arrived.scheme) return false
  if (declared.port !== arrived.port || !hostCovers(declared.host, arrived.host)) return false
  const [path = ''] = arrived.path.split('?')
  if (steps(decodeSlashes(path)).some((step) => isClimb(step.split(';')[0] ?? ''))) return false
  return pathCovers(normal(declared.path), path)
}

interface Parts {
  readonly scheme: string
  readonly host: string
  readonly port: string
  readonly path: string
}

function split(spelling: string): Parts | null {
  const at = spelling.indexOf('://')
  const scheme = spelling.slice(0, at).toLowerCase()
  const rest = spelling.slice(at + 3)
  const slash = rest.indexOf('/')
  const authority = slash === -1 ? rest : rest.slice(0, slash)
  if (at === -1 || authority.includes('@')) return null
  const bracket = authority.lastIndexOf(']')
  const colon = authority.indexOf(':', bracket + 1)
  const host = colon === -1 ? authority : authority.slice(0, colon)
  const port = colon === -1 ? '' : String(Number(authority.slice(colon + 1)))
  const usual = port === '' || port === '0' ? (scheme === 'https' ? '443' : '80') : port
  return { scheme, host, port: usual, path: slash === -1 ? '/' : rest.slice(slash) }
}

/** A star is the whole first label. */
function hostCovers(declared: string, arrived: string): boolean {
  const [first = '', ...others] = declared.split('.')
  if (first !== '*') return ascii(declared) === arrived
  const [label = '', ...rest] = arrived.split('.')
  return label !== '' && others.length >= 2 && ascii(others.join('.')) === rest.join('.')
}

function ascii(host: string): string {
  try {
    return domainToASCII(decodeURIComponent(host))
  } catch {
    return ''
  }
}

function steps(path: string): readonly string[] {
  return path.split('/').slice(1)
}

const isClimb = (step: string): boolean => step.replaceAll(/%2e/gi, '.') === '..'
const decodeSlashes = (path: string): string => path.replaceAll(/%2f|%5c/gi, '/')

/** Without dot segments (RFC 3986 §5.2.4), and with what a path cannot hold encoded. */
function normal(path: string): string {
  const kept: string[] = []
  const all = steps(path)
  for (const [index, step] of all.entries()) {
    const isLast = index === all.length - 1
    const plain = step.replaceAll(/%2e/gi, '.')
    if (plain === '..') kept.pop()
    if (plain === '.' || plain === '..') {
      if (isLast) kept.push('')
    } else kept.push(encode(step))
  }
  return `/${kept.join('/')}`
}

function encode(step: string): string {
  let encoded = ''
  for (const letter of step) {
    const isKept = letter >= '!' && letter <= '~' && !'"#<>?`{}^'.includes(letter)
    encoded += isKept ? letter : encodeURIComponent(letter)
  }
  return encoded
}

/** A star is any run of letters. */
function pathCovers(pattern: string, path: string): boolean {
  if (pattern === '') return path === ''
  if (pattern.startsWith('*')) {
    for (let at = 0; at <= path.length; at++) if (pathCovers(pattern.slice(1), path.slice(at))) return true
    return false
  }
  return path !== '' && pattern[0] === path[0] && pathCovers(pattern.slice(1), path.slice(1))
}
