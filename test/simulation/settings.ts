import type { Rotation } from './server.ts'
import type { Setting, Wish } from './world.ts'

const plain: Wish = { resource: null }
const x: Wish = { resource: 'https://x' }
const y: Wish = { resource: 'https://y' }
const again: Wish = { resource: null, afterRefusal: true }

const rotations: readonly (readonly [string, Rotation])[] = [
  ['strict', 'strict'],
  ['grace', { graceMs: 5_000 }],
  ['none', 'none'],
]

const each = (what: string, brokers: Setting['brokers']): readonly Setting[] =>
  rotations.flatMap(([name, rotation]) =>
    [true, false].map((proof) => ({
      name: `${what}, ${name}, ${proof ? 'proof' : 'no proof'}`,
      ...{ rotation, proof, brokers },
    })),
  )

/** Two processes that want the same token. */
export const two: readonly Setting[] = each('two', [[[plain]], [[plain]]])
/** Two processes that want different tokens of one grant. */
export const twoResources: readonly Setting[] = each('two resources', [[[x]], [[y]]])
/** Two processes that want two tokens each. */
export const twoEach: readonly Setting[] = each('two each', [[[x, y]], [[y, x]]])
/** Two processes whose token is renewed behind their backs. */
export const aging: readonly Setting[] = each('aging', [[[plain, x]], [[plain, again]]]).map((setting) => ({
  ...setting,
  aging: true,
}))
/** Four processes with several callers each, one after the other and side by side. */
export const four: readonly Setting[] = [
  ...each('four', [[[plain, again]], [[plain]], [[plain, x]], [[x], [plain]]]),
  ...each('four busy', [[[x, plain], [y]], [[plain, again, again]], [[y], [x]], [[plain, y]]]),
  ...each('two, twice', [[[plain, again]], [[plain, again]]]),
]

export const all: readonly Setting[] = [...two, ...twoResources, ...twoEach, ...aging, ...four]
