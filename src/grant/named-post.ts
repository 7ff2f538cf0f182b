import type { JsonObject } from '../credential.ts'
import { classifyAnswer } from './classify.ts'
import type { Unserved } from './polling.ts'
import { readAnswer } from './token-endpoint.ts'
import { unserved } from './token-request.ts'

/** What a server calls the members of its requests and answers. */
export type MemberNames = Readonly<Partial<Record<string, readonly string[]>>>

/** One POST to an endpoint that is a server's own: our names outside, the server's on the wire. */
export interface NamedPost {
  readonly url: string
  readonly encoding?: 'form' | 'json' | undefined
  readonly names: MemberNames | undefined
  readonly members: Readonly<Record<string, string>>
  /** What error descriptions must not repeat. */
  readonly secrets: readonly string[]
  readonly fetch: typeof fetch
  /** Unix milliseconds. */
  readonly now: () => number
  readonly timeoutMs: number
}

/** The object of a 2xx answer, or what else became of the request. No redirect is followed, and nothing is sent twice. */
export type NamedAnswer =
  | { readonly status: number; readonly body: JsonObject }
  | { readonly status: number | undefined; readonly body: null; readonly outcome: Unserved }

export async function postNamed(post: NamedPost): Promise<NamedAnswer> {
  const { url, names, fetch, now } = post
  const sent = Object.fromEntries(Object.entries(post.members).map(([member, value]) => [sentAs(member, names), value]))
  const [type, body] =
    post.encoding === 'json'
      ? ['application/json', JSON.stringify(sent)]
      : ['application/x-www-form-urlencoded', new URLSearchParams(sent).toString()]
  const answered = await readAnswer(fetch, url, {
    ...{ method: 'POST', headers: { accept: 'application/json', 'content-type': type }, body },
    ...{ redirect: 'manual', signal: AbortSignal.timeout(post.timeoutMs) },
  })
  if ('failure' in answered) {
    const outcome = unserved({ stage: 'failed', ...answered }, undefined)
    return { status: answered.status, body: null, outcome }
  }
  const { status, headers } = answered
  const answer = classifyAnswer(answered, now(), post.secrets)
  if (answer.kind === 'object') return { status, body: answer.body }
  return { status, body: null, outcome: unserved({ stage: 'answered', answer, status, headers, at: now() }, undefined) }
}

/** The name under which a member is sent. */
export function sentAs(member: string, names: MemberNames = {}): string {
  return names[member]?.[0] ?? member
}

/** What an answer has under one of a member's names. */
export function findNamed(body: JsonObject, member: string, names: MemberNames = {}): unknown {
  return (names[member] ?? [member]).map((name) => body[name]).find((value) => value !== undefined && value !== null)
}

/** The same where it is text. */
export function textNamed(body: JsonObject, member: string, names?: MemberNames): string | undefined {
  const value = findNamed(body, member, names)
  return typeof value === 'string' && value !== '' ? value : undefined
}
