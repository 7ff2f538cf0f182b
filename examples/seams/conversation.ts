// What the programs beside this one share: a prompt a line on stdin; on stdout the answer, or why there is none.
import { createInterface } from 'node:readline/promises'

export async function converse(answer: (prompt: string) => Promise<string>): Promise<void> {
  for await (const prompt of createInterface({ input: process.stdin })) {
    try {
      console.log(await answer(prompt))
    } catch (error) {
      console.log(`no answer: ${reasonOf(error)}`)
    }
  }
}

/** SDKs wrap what stopped a request; the reason is at the bottom. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause === undefined ? error.message : reasonOf(error.cause)
}
