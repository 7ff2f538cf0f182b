import { expect, test } from 'vitest'
import { replay, sample, tell } from './explore.ts'
import { load } from './load.ts'
import { all, four } from './settings.ts'

const told = process.env['SCHEDULE']

// SCHEDULE="two, strict, proof | A commits 2 > A stops" npx vitest run test/simulation/replay.test.ts
if (told !== undefined) {
  test('the schedule that was given', async () => {
    const { violation, trace } = await replay(await load(), told, all)
    console.log(trace)
    expect(violation).toBeUndefined()
  })
}

test('a failure is found again from its seed, and from its words', async () => {
  const Mutant = await load('no patience with what was sent')
  const [first, second] = [
    await sample(Mutant, four, { from: 1, count: 500 }),
    await sample(Mutant, four, { from: 1, count: 500 }),
  ]
  expect(first.findings).toHaveLength(1)
  expect(second).toEqual(first)
  const finding = first.findings[0]!
  const { violation } = await replay(Mutant, await tell(Mutant, finding), all)
  expect(violation).toBe(finding.violation)
})
