import type { HttpAnswer } from '../../src/grant/classify.ts'

export type Rotation = 'none' | 'strict' | { readonly graceMs: number }

/** What a server may do with a request besides answering it. The second member: whether it looks at the token at all. */
export const outcomes = [
  '500',
  '500 after rotating',
  '429',
  'revoked',
  'empty 400',
  'malformed',
  'invalid_client',
] as const
export type Outcome = 'served' | (typeof outcomes)[number]

interface Token {
  readonly family: { revoked: boolean }
  spentAt: number | null
}

const json = new Headers({ 'content-type': 'application/json' })
const none = new Headers()

/** A token endpoint that rotates as it declares, and takes a second use of a token for theft. */
export class Server {
  readonly #rotation: Rotation
  readonly #tokens = new Map<string, Token>()
  #made = 0
  /** How often a second use of a refresh token has been taken for theft. */
  detections = 0

  constructor(rotation: Rotation) {
    this.#rotation = rotation
  }

  /** The first refresh token of a new login. */
  login(): string {
    return this.#issue({ revoked: false })
  }

  /** Whether this refresh token would be honoured now. */
  honours(token: string, now: number): boolean {
    const known = this.#tokens.get(token)
    if (known === undefined || known.family.revoked) return false
    return known.spentAt === null || this.#rotation === 'none' || this.#forgives(known, now)
  }

  /** Takes a request. Everything happens at once: a server is a database. */
  take(token: string, now: number, outcome: Outcome): HttpAnswer {
    switch (outcome) {
      case '500':
        return { status: 500, headers: none, text: '' }
      case '429':
        return { status: 429, headers: none, text: '' }
      case 'empty 400':
        return { status: 400, headers: none, text: '' }
      case 'invalid_client':
        return { status: 401, headers: json, text: '{"error":"invalid_client"}' }
      case 'revoked':
        this.#tokens.get(token)!.family.revoked = true
        return this.#grant(token, now)
      case '500 after rotating':
        this.#grant(token, now)
        return { status: 500, headers: none, text: '' }
      case 'malformed': {
        const answer = this.#grant(token, now)
        return { ...answer, text: answer.text.replace('"token_type":"Bearer",', '') }
      }
      case 'served':
        return this.#grant(token, now)
    }
  }

  #grant(token: string, now: number): HttpAnswer {
    const known = this.#tokens.get(token)
    if (known !== undefined && known.spentAt !== null && this.#rotation !== 'none' && !this.#forgives(known, now)) {
      if (!known.family.revoked) this.detections++
      known.family.revoked = true
    }
    if (known === undefined || known.family.revoked) {
      return { status: 400, headers: json, text: '{"error":"invalid_grant"}' }
    }
    known.spentAt ??= now
    const successor = this.#rotation === 'none' ? '' : `,"refresh_token":"${this.#issue(known.family)}"`
    const text = `{"access_token":"t${++this.#made}","token_type":"Bearer","expires_in":3600${successor}}`
    return { status: 200, headers: json, text }
  }

  #issue(family: Token['family']): string {
    const token = `r${this.#tokens.size}`
    this.#tokens.set(token, { family, spentAt: null })
    return token
  }

  #forgives({ spentAt }: Token, now: number): boolean {
    return typeof this.#rotation === 'object' && spentAt !== null && now < spentAt + this.#rotation.graceMs
  }
}
