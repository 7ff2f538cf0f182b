import { lstat, readdir } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { isAuthkeepError } from '../errors.ts'
import type { StoreBackend } from '../store/backend.ts'
import type { StoreReport } from '../store/events.ts'
import { isSealed, keySources } from '../store/sealed.ts'
import { CredentialStore } from '../store/store.ts'
import type { Context, Result } from './context.ts'
import { backendOf, openStoreOf, pathOf } from './open-store.ts'
import { durationInWords, harmless, titled } from './output.ts'

/** One thing that was looked at. */
export interface Check {
  readonly name: string
  readonly ok: boolean
  readonly finding: string
}

/**
 * `authkeep doctor`: how the store is, and with `--fix` what can be mended is. Says what cannot, and where else a login
 * may be found.
 */
export async function doctor(context: Context): Promise<Result> {
  const backend = await backendOf(context)
  const path = pathOf(backend)
  const store = new CredentialStore(backend)
  try {
    const isFixing = context.options['fix'] === true
    const startEmpty = context.options['start-empty'] === true
    const fixed = isFixing || startEmpty ? await fix(store, startEmpty) : null
    const report = await store.verify()
    const { checkSurroundings } = await import('./doctor-network.ts')
    const checks = [
      checkFile(report),
      ...(path === null ? [] : [checkCopy(report, store.exclusion === 'none')]),
      checkEntries(report),
      ...(path === null ? [] : [...(await checkModes(path)), ...(await checkLock(path))]),
      ...(await checkKeys(context, backend, report)),
      ...(await checkRefreshes(store, report)),
      ...(await checkSurroundings(context)),
      ...(fixed === null ? [] : [fixed]),
    ]
    const isLost = report.state === 'damaged' && report.copy !== 'valid'
    const elsewhere = isLost ? await filesElsewhere(context.env) : []
    const ok = checks.every((check) => check.ok)
    return {
      text: render(checks, report, elsewhere, context.columns),
      json: { ok, checks, report, elsewhere },
      exitCode: ok ? 0 : 1,
    }
  } finally {
    await store.close()
  }
}

async function fix(store: CredentialStore, startEmpty: boolean): Promise<Check | null> {
  try {
    await store.recover({ startEmpty })
    return null
  } catch (error) {
    if (!isAuthkeepError(error)) throw error
    return { name: 'fix', ok: false, finding: error.message }
  }
}

function checkFile({ state, what, path, entries }: StoreReport): Check {
  const name = 'file'
  switch (state) {
    case 'valid':
      return { name, ok: true, finding: `${path} holds ${entries} logins` }
    case 'absent':
      return { name, ok: what === undefined, finding: what ?? `${path} does not exist yet` }
    case 'newer':
    case 'damaged':
      return { name, ok: false, finding: what ?? state }
  }
}

/** A file that is mounted by itself has none that would outlive the container: that is no fault of the store. */
function checkCopy({ copy, state }: StoreReport, isMounted: boolean): Check {
  if (isMounted) {
    const finding = 'no second copy is kept of a file that is mounted by itself; mount its directory to have one'
    return { name: 'copy', ok: true, finding }
  }
  const finding = {
    valid: 'the second copy is good',
    absent: 'there is no second copy; the next change makes one',
    newer: 'the second copy is of a newer version',
    damaged: 'the second copy is damaged; the next change makes a new one',
  }[copy]
  return { name: 'copy', ok: copy === 'valid' || (copy === 'absent' && state === 'absent'), finding }
}

function checkEntries({ unreadable }: StoreReport): Check {
  const finding = unreadable.length === 0 ? 'every entry can be read' : `cannot be read: ${unreadable.join(', ')}`
  return { name: 'entries', ok: unreadable.length === 0, finding }
}

/** How many entries are sealed, and whether the keys for them are there. Entries may be sealed and others in the clear. */
async function checkKeys(context: Context, backend: StoreBackend, { state }: StoreReport): Promise<readonly Check[]> {
  if (state !== 'valid') return []
  const sources = await keySources(backend, { former: true })
  if (sources.length === 0) return [{ name: 'keys', ok: true, finding: 'the secrets are not sealed' }]
  const names = (await backend.keys()).filter((name) => !name.startsWith(':'))
  const values = await Promise.all(names.map((name) => backend.read(name).catch(() => null)))
  const count = values.filter((entry) => entry !== null && isSealed(entry.value)).length
  const store = await openStoreOf(context, backend)
  const problems = (await store.list()).flatMap(({ type, problem }) => (type === 'unreadable' ? [problem ?? type] : []))
  const all = `${count} of ${names.length} logins are sealed, with keys of ${sources.join(' and ')}`
  return [
    { name: 'keys', ok: true, finding: all },
    ...problems.map((finding) => ({ name: 'keys', ok: false, finding })),
  ]
}

/** The ledger: who refreshed what, and when. */
async function checkRefreshes(store: CredentialStore, { state }: StoreReport): Promise<readonly Check[]> {
  const infos = state === 'valid' ? await store.list() : []
  return infos.flatMap(({ provider, account, type, refreshable, generation = 0, refreshed }) => {
    if (type !== 'oauth' || refreshable !== true) return []
    const last =
      refreshed === undefined
        ? 'not refreshed yet'
        : `refreshed ${durationInWords(Math.max(0, Date.now() - refreshed.at))} ago by pid ${refreshed.pid} on host ${refreshed.host}`
    return [{ name: 'refresh', ok: true, finding: `${provider}:${account}: generation ${generation}, ${last}` }]
  })
}

/** Windows has no such modes. */
async function checkModes(path: string): Promise<readonly Check[]> {
  if (process.platform === 'win32') return []
  const stat = await lstat(path).catch(() => null)
  if (stat === null || stat.isSymbolicLink()) return []
  const mode = (stat.mode & 0o777).toString(8)
  const isPrivate = (stat.mode & 0o077) === 0
  const checks = [
    { name: 'mode', ok: isPrivate, finding: `the file is ${mode}${isPrivate ? '' : '; the next change makes it 600'}` },
  ]
  return stat.nlink === 1
    ? checks
    : [...checks, { name: 'links', ok: false, finding: `the file has ${stat.nlink} names` }]
}

async function checkLock(path: string): Promise<readonly Check[]> {
  const names = await readdir(dirname(path)).catch((): string[] => [])
  const isLocked = names.includes(`${basename(path)}.lock`)
  return [{ name: 'lock', ok: true, finding: isLocked ? 'somebody is writing, or died doing so' : 'nobody is writing' }]
}

/** Credential files of other programs that are present: where an emptied store could be filled from again. */
async function filesElsewhere(env: Context['env']): Promise<readonly { program: string; path: string }[]> {
  const { otherPrograms } = await import('../broker/other-programs.ts')
  const known = (await otherPrograms(env)).flatMap(({ name, paths }) => paths.map((path) => ({ program: name, path })))
  const present = await Promise.all(
    known.map(async ({ path }) => (await lstat(path).catch(() => null))?.isFile() === true),
  )
  return known.filter((_, index) => present[index])
}

function render(
  checks: readonly Check[],
  report: StoreReport,
  elsewhere: readonly { program: string; path: string }[],
  columns: number,
): string {
  const lines = checks.flatMap(({ name, ok, finding }) =>
    titled(`${ok ? 'ok ' : '!! '} ${name.padEnd(9)} `, [finding], columns),
  )
  if (report.state === 'damaged' || (report.state === 'absent' && report.what !== undefined)) {
    const canMend = report.copy === 'valid'
    lines.push(
      canMend
        ? 'Mend it: authkeep doctor --fix'
        : 'Nothing can be recovered from copies. The damaged file is kept as it is.',
    )
    lines.push(...elsewhere.map(({ program, path }) => `${program} has logins of its own in ${harmless(path)}`))
  }
  return `${lines.join('\n')}\n`
}
