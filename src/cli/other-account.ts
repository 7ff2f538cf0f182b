import type { Holder, OtherAccountHandler } from '../broker/other-account.ts'
import { Cancelled, type Context } from './context.ts'
import { harmless } from './output.ts'
import { readLine } from './terminal.ts'

/** Asks the person what to do with a login of somebody else than is stored; nothing where nobody is there to be asked. */
export function otherAccountHandler(context: Context): { readonly onOtherAccount?: OtherAccountHandler } {
  const { options, signal, say } = context
  const isAskable = options['json'] !== true && options['non-interactive'] !== true
  if (!isAskable || !process.stdin.isTTY || !process.stderr.isTTY) return {}
  const ask = async (question: string, byDefault: string): Promise<string> => {
    const answer = (await readLine(signal, harmless(`${question} [${byDefault}]: `))).trim()
    return answer === '' ? byDefault : answer
  }
  const onOtherAccount: OtherAccountHandler = async ({ provider, account, stored, arrived, suggestion }) => {
    const [before, now] = namesOf(stored, arrived)
    const lines = [
      `This login to ${provider} is of another account than the one stored as "${account}".`,
      `  stored: ${before}`,
      `  now:    ${now}`,
      `1  Keep both: store the new login under a name of its own`,
      `2  Replace: forget the stored login; the server is not told`,
      `3  Cancel: leave everything as it was`,
    ]
    for (const line of lines) say(harmless(line))
    for (;;) {
      const choice = await ask('Which one?', '3')
      if (choice === '1') return { account: await ask('Name of the new login', suggestion) }
      if (choice === '2') return 'replace'
      if (choice === '3') throw new Cancelled()
      say('Please type 1, 2 or 3.')
    }
  }
  return { onOtherAccount }
}

/** What two holders are called, so that they can be told apart. */
function namesOf(stored: Holder, arrived: Holder): readonly [string, string] {
  const short = [stored, arrived].map(({ name, subject }) => name ?? subject)
  const isClear = short[0] !== short[1]
  const nameOf = ({ type, name, subject }: Holder): string => {
    if (type === 'api_key') return 'an API key'
    if (type === 'token') return 'a token'
    if (name === null || isClear) return name ?? subject ?? 'an account that the server does not name'
    return `${name} (${subject ?? 'not named further'})`
  }
  return [nameOf(stored), nameOf(arrived)]
}
