import type { Json, JsonObject } from '../credential.ts'

// Which members of an entry are secret, as JSON Pointers (RFC 6901); `*` stands for every place of a list.
const secretMembers = [
  '/key',
  '/token',
  '/idToken',
  '/dpopKey/privateJwk',
  '/grant/refreshToken',
  '/grant/spare/refreshToken',
  '/grant/reissue/parameters',
  '/tokens/*/accessToken',
]

/** What was taken out of an entry, by its place. */
export type Secrets = Readonly<Record<string, Json>>

/** An entry without its secrets, and these. */
export function split(value: JsonObject): { readonly open: JsonObject; readonly secrets: Secrets } {
  const open = structuredClone(value)
  const secrets: Record<string, Json> = {}
  for (const path of secretMembers.flatMap((each) => placesOf(each, open))) {
    const { parent, name } = at(open, path)
    const secret = parent?.[name]
    if (parent === undefined || secret === undefined || secret === null) continue
    secrets[path] = secret
    Reflect.deleteProperty(parent, name)
  }
  return { open, secrets }
}

/** The entry as it was; null where a place is not there any more. */
export function join(open: JsonObject, secrets: Secrets): JsonObject | null {
  const value = structuredClone(open)
  for (const [path, secret] of Object.entries(secrets)) {
    const { parent, name } = at(value, path)
    if (parent === undefined) return null
    parent[name] = secret
  }
  return value
}

function placesOf(path: string, value: JsonObject): readonly string[] {
  const [list, rest] = path.split('/*')
  if (list === undefined || rest === undefined) return [path]
  const { parent, name } = at(value, list)
  const found = parent?.[name]
  return Array.isArray(found) ? found.map((_, n) => `${list}/${n}${rest}`) : []
}

function at(
  value: JsonObject,
  path: string,
): { readonly parent: Record<string, Json> | undefined; readonly name: string } {
  const steps = path.slice(1).split('/')
  const name = steps.pop() ?? ''
  const parent = steps.reduce<Json | undefined>(
    (found, step) => (typeof found === 'object' && found !== null ? (found as Record<string, Json>)[step] : undefined),
    value,
  )
  return { parent: typeof parent === 'object' && parent !== null ? (parent as Record<string, Json>) : undefined, name }
}
