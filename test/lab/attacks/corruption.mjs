// A store of 20 credentials whose bytes are damaged in every way that one cut or one byte can, and in some thousand
// random ones. A fresh reader must find all 20 as they were. What a program changed so that it still parses is an edit,
// and is adopted: those are counted. What changed with nobody writing is rot, and must be undone.
import * as fs from 'node:fs'
import { join } from 'node:path'
import { tally } from './lab.mjs'

const kinds = [
  { kind: 'cut', name: 'every truncation', amount: (size) => size },
  { kind: 'rot', name: 'every byte with one bit rotten', amount: (size) => size },
  { kind: 'flip', name: 'every byte with one bit changed by a program', amount: (size) => size },
  { kind: 'edit', name: 'random damage written by a program', amount: () => 2_000 },
]

const adopted = ['adopted', 'adopted, entries gone']

/** @param {import('./lab.mjs').Lab} lab */
export async function* run(lab) {
  const template = lab.fastDirectory('template')
  await lab.fill(join(template, 'auth.json'), 20)
  const { size } = fs.statSync(join(template, 'auth.json'))
  for (const { kind, name, amount } of kinds) {
    const stride = lab.amount(1, 12)
    const workers = [0, 1].map((half) =>
      lab.worker('damage.mjs', {
        ...{ kind, template, half, stride, seed: lab.seed, amount: amount(size) },
        place: lab.fastDirectory('damaged'),
      }),
    )
    const verdicts = []
    for (const worker of workers) verdicts.push(...(await worker.next()).verdicts)
    await Promise.all(workers.map((worker) => worker.gone))
    const count = (...wanted) => verdicts.filter(({ verdict }) => wanted.includes(verdict)).length
    const mayBeAdopted = kind === 'flip' || kind === 'edit'
    const bad = verdicts.filter(
      ({ verdict }) => !['recovered', 'untouched', ...(mayBeAdopted ? adopted : [])].includes(verdict),
    )
    yield {
      attack: `damage: ${name}`,
      fs: lab.kindOf(template),
      states: verdicts.length,
      lost: count('fewer', 'empty') + (mayBeAdopted ? 0 : count(...adopted)),
      unrecovered: bad.length - count('fewer', 'empty') - (mayBeAdopted ? 0 : count(...adopted)),
      problems: bad.map(({ verdict, what }) => `${verdict}: ${what}`),
      note: `${tally(verdicts.map(({ verdict }) => verdict))}${
        bad.length > 0
          ? `; ${bad
              .slice(0, 3)
              .map(({ verdict, what }) => `${verdict}: ${what}`)
              .join('; ')}`
          : ''
      }`,
    }
  }
}
