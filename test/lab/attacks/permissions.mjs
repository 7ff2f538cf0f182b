// Files and directories that the process may not touch. It has put off root, or nothing would be refused.
import * as fs from 'node:fs'
import { dirname, join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { NotRun, tally, valueOf } from './lab.mjs'

const nobody = 65534
const cases = [
  {
    name: 'directory not writable: reads work, commits are refused, nothing changes',
    forbid: (path) => fs.chmodSync(dirname(path), 0o555),
    reads: true,
  },
  {
    name: 'file not readable: an error, not absence',
    forbid: (path) => fs.chmodSync(path, 0),
    reads: false,
  },
  {
    name: 'directory not to be entered: an error, not absence',
    forbid: (path) => fs.chmodSync(dirname(path), 0),
    reads: false,
  },
]

/** @param {import('./lab.mjs').Lab} lab */
export async function* run(lab) {
  if (process.getuid?.() !== 0) throw new NotRun('needs root, in order to put it off')
  lab.mayBeRunBy(nobody)
  const problems = []
  const outcomes = []
  for (const { name, forbid, reads } of cases) {
    const place = lab.directory('permissions')
    fs.chmodSync(place, 0o755)
    const path = join(place, 'store', 'auth.json')
    await lab.fill(path, 3)
    for (const owned of [dirname(path), path, `${path}.bak`]) fs.chownSync(owned, nobody, nobody)
    const before = fs.readFileSync(path)
    forbid(path)
    const worker = lab.worker('try.mjs', { path, key: 'p:00', next: { token: 'new' } }, { uid: nobody })
    const { value, readError, commit, commitError } = await worker.next()
    await worker.gone
    outcomes.push(
      `read ${readError?.code ?? 'works'}/${readError?.errno ?? ''} commit ${commitError?.code}/${commitError?.errno}`,
    )
    if (!before.equals(fs.readFileSync(path))) problems.push(`${name}: the file has changed`)
    if (reads && !isDeepStrictEqual(value, valueOf('p:00'))) problems.push(`${name}: the entry cannot be read`)
    if (!reads && readError?.code !== 'store_failed')
      problems.push(`${name}: read gave ${JSON.stringify(value)}, ${JSON.stringify(readError)}`)
    if (commit !== null || commitError.code !== 'store_failed' || commitError.errno !== 'EACCES') {
      problems.push(`${name}: commit gave ${JSON.stringify(commit ?? commitError)}`)
    }
  }
  yield {
    attack: 'EACCES as an unprivileged user',
    fs: lab.kindOf(lab.root),
    states: cases.length,
    lost: problems.filter((problem) => problem.includes('changed')).length,
    unrecovered: problems.filter((problem) => !problem.includes('changed')).length,
    note: problems.length > 0 ? problems.join('; ') : tally(outcomes),
  }
}
