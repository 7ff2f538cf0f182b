import { expect, it } from 'vitest'
import { parseProvider } from '../../src/provider-files.ts'
import { builtInProviders } from '../../src/providers/built-in.ts'

it('is valid, each under an id of its own, and complete with a client where one is wanted', async () => {
  const clientOf = (id: string) => ({ id: `my-${id}` })
  const { providers, incomplete } = builtInProviders({ product: 'mine', clientOf })
  expect(incomplete).toEqual([])
  expect(new Set(providers.map(({ id }) => id)).size).toBe(6)
  for (const provider of providers) expect(await parseProvider(provider)).toEqual(provider)
  expect(providers.find(({ id }) => id === 'github')?.client).toEqual({ id: 'my-github' })
  expect(JSON.stringify(providers)).not.toContain('authkeep')
  expect(builtInProviders().incomplete.map(({ id }) => id)).toEqual(['github', 'google'])
})
