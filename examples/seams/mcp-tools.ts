// What the clients of the Model Context Protocol beside this one share: of a line, every word is a tool, called by a
// client of its own, all at once. `wait` is released as soon as it has said that it waits; `wait!` is given up then.
interface ToolClient {
  call(name: string, options: { onprogress: () => void; signal: AbortSignal }): Promise<unknown>
}

export function callingTools(connect: () => Promise<ToolClient>): (line: string) => Promise<string> {
  const clients: Promise<ToolClient>[] = []
  const call = async (word: string, index: number): Promise<string> => {
    try {
      const tool = await (clients[index] ??= connect())
      const stop = new AbortController()
      const onprogress = (): void => {
        if (word.endsWith('!')) stop.abort(new Error('given up'))
        else void tool.call('release', { onprogress: () => undefined, signal: new AbortController().signal })
      }
      const answer = await tool.call(word.replace('!', ''), { onprogress, signal: stop.signal })
      const { content } = answer as { content: readonly { text: string }[] }
      return content.map(({ text }) => text).join('')
    } catch (error) {
      // One that could not connect is tried anew.
      await clients[index]?.catch(() => clients.splice(index, 1))
      return `no answer: ${error instanceof Error ? error.message : String(error)}`
    }
  }
  return async (line) => (await Promise.all(line.split(' ').map(call))).join(', ')
}
