import { CredentialStore } from '../store/store.ts'
import { type Context, type Result, UsageError } from './context.ts'
import { backendOf } from './open-store.ts'
import { harmless, table } from './output.ts'

/** `authkeep restore --list`, `authkeep restore <id>`: go back to an older state of the credential file. */
export async function restore(context: Context): Promise<Result> {
  const [id] = context.words
  const isListing = context.options['list'] === true
  if (isListing === (id !== undefined)) throw new UsageError('Name one id, or ask for the --list.')
  const store = new CredentialStore(await backendOf(context))
  try {
    const backups = await store.backups()
    if (id === undefined) {
      if (backups.length === 0) return { text: 'There are no older states.\n', json: { backups } }
      const rows = backups.map((one) => [one.id, new Date(one.takenAt).toLocaleString(), String(one.entries)])
      return { text: `${table(['ID', 'TAKEN', 'LOGINS'], rows, context.columns)}\n`, json: { backups } }
    }
    if (!backups.some((one) => one.id === id)) throw new UsageError(`There is no older state "${harmless(id)}".`)
    const report = await store.restore(id)
    return { text: `Restored; ${report.entries} logins in ${harmless(report.path)}.\n`, json: { restored: id, report } }
  } finally {
    await store.close()
  }
}
