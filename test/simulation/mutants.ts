import type { ViteUserConfig } from 'vitest/config'

type Plugin = NonNullable<ViteUserConfig['plugins']>[number]
/** What one file says, and what the mutant says instead. */
type Change = readonly [file: string, from: string, to: string]

/*
 * The broker with one mistake each, made from its own source when it is loaded: whatever the mistake does not touch is
 * the code that ships. A change that does not find its place, once, is an error, so a mutant cannot quietly become the
 * real thing.
 */
export const mutants: Readonly<Record<string, readonly Change[]>> = {
  'no fence': [['changes', 'if (holds(current, spent)) {', 'if (true) {']],
  'no fence at the claim': [
    [
      'leases',
      'isSameLease(current, seen) &&\n      holds(current, spent) &&\n      isSameJudgement(current, seen) &&',
      '',
    ],
  ],
  'no second decide': [
    ['desk', 'return this.#enqueue(flight)', 'return this.#enqueue({ ...flight, decision })'],
    [
      'serving',
      'const { decision, moment } = await this.#judgement.decide(flight, credential)\n        if',
      'const { decision } = flight\n        const { moment } = await this.#judgement.decide(flight, credential)\n        if',
    ],
  ],
  'lease keyed by credential': [
    ['lease', 'lease === null || !isFor(lease, grant)', 'lease === null'],
    ['changes', 'stateFor: lease.token,', 'stateFor: fingerprint(grant.refreshToken),'],
  ],
  'lease keyed by credential: any will do': [
    ['leases', 'if (current.lease?.id !== lease.id || !holds(current, spent)) return undefined', ''],
  ],
  'hand out before persisting': [
    [
      'settlement',
      'const isKept = await this.#keepToken(answer, seen, lease, spent)',
      'const isKept = true\n    void this.#keepToken(answer, seen, lease, spent)',
    ],
    [
      'serving',
      'served = result.token\n',
      'return this.#judgement.present({ ...result.token, secret: result.token.accessToken }, credential, route)\n',
    ],
  ],
  'clean up on error': [
    [
      'settlement',
      'if (!holds(current, spent)) return undefined\n      const { spare',
      'return null\n      const { spare',
    ],
  ],
  'no mark before sending': [['refresh', 'if (!(await leases.markSent(seen, lease, spent, plan)))', 'if (false)']],
  'replays are not counted': [['leases', '(plan.isReplay ? 1 : 0)', '0']],
  'no waiting for others': [['lease', ": { kind: 'wait', forMs: waitMs - view.seenForMs }", ": { kind: 'free' }"]],
  'no patience with what was sent': [['lease', 'leaseMs + view.inDoubtWaitMs', 'leaseMs']],
  'a successor that cannot be saved is forgotten': [
    ['successors', 'this.#keepTrying(keyName(seen), async', 'void (async'],
  ],
}

const marker = /[?&]mutant=([^&]+)/

/** Loads `src/broker/broker.ts?mutant=name`, and what it imports from its own room, with that mutant's changes. */
export function mutate(): Plugin {
  return {
    name: 'mutants',
    enforce: 'pre',
    transform(code, id) {
      const [, name] = marker.exec(id) ?? []
      if (name === undefined) return undefined
      const mutant = mutants[decodeURIComponent(name)]
      if (mutant === undefined) throw new TypeError(`no mutant is called ${name}`)
      let text = code
      for (const [file, from, to] of mutant) {
        if (!id.includes(`/${file}.ts?`)) continue
        if (text.split(from).length !== 2) throw new TypeError(`${name}: not once in ${file}.ts: ${from}`)
        text = text.replace(from, () => to)
      }
      return text.replace(/(from |import\()'(\.\/[\w-]+\.ts)'/g, `$1'$2?mutant=${name}'`)
    },
  }
}
