import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { TokenBroker } from '../../src/broker/broker.ts'
import { type Credential, Secret } from '../../src/credential.ts'
import type { Provider } from '../../src/provider.ts'
import { memoryBackend } from '../../src/store/backend.ts'
import { type CredentialStore, openStore } from '../../src/store/store.ts'

const provider: Provider = {
  id: 'keys',
  issuer: 'https://auth.example',
  client: { id: 'none' },
  environment: { KEYS_API_KEY: 'api_key', KEYS_TOKEN: 'token' },
  endpoints: [
    { url: 'https://api.example/v1/*', accepts: ['api_key'], service: 'responses' },
    { url: 'https://api.example/tokens/*', accepts: ['token'] },
  ],
}
const url = 'https://api.example/v1/responses'
const stored: Credential = { type: 'api_key', provider: 'keys', account: 'default', key: new Secret('sk-stored') }

async function scene(
  environment: Record<string, string | undefined>,
  credentials: readonly Credential[] = [stored],
): Promise<{ readonly broker: TokenBroker; readonly store: CredentialStore }> {
  const store = await openStore({ backend: memoryBackend() })
  for (const credential of credentials) await store.update(credential, () => credential)
  return { broker: new TokenBroker({ store, providers: [provider], environment }), store }
}

describe('a credential of the environment', () => {
  test('goes before what is stored, and is not stored', async () => {
    const { broker, store } = await scene({ KEYS_API_KEY: ' sk-environment\n' })
    const token = await broker.getToken(url)
    expect(token.reveal()).toBe('sk-environment')
    expect(token.account).toBe('$KEYS_API_KEY')
    await expect(broker.route({ service: 'responses' })).resolves.toMatchObject({ account: '$KEYS_API_KEY' })
    await broker.close()
    await expect(store.list()).resolves.toMatchObject([{ account: 'default' }])
    await expect(store.read(stored)).resolves.toMatchObject({ type: 'api_key' })
  })

  test('is seen as it changes, also where a token was cached', async () => {
    const environment: Record<string, string | undefined> = { KEYS_API_KEY: 'sk-one' }
    const { broker } = await scene(environment)
    const revealed = async (): Promise<string> => (await broker.getToken(url)).reveal()
    await expect(revealed()).resolves.toBe('sk-one')
    environment['KEYS_API_KEY'] = 'sk-two'
    await expect.poll(revealed).toBe('sk-two')
    delete environment['KEYS_API_KEY']
    await expect.poll(revealed).toBe('sk-stored')
  })

  test('serves when nothing is stored', async () => {
    const { broker } = await scene({ KEYS_API_KEY: 'sk-environment' }, [])
    await expect(broker.getToken(url).then((token) => token.reveal())).resolves.toBe('sk-environment')
  })

  test('serves whatever has become of the file, which stays as it is', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'authkeep-'))
    const path = join(directory, 'auth.json')
    await writeFile(path, 'not a credential file')
    const store = await openStore({ path })
    const broker = new TokenBroker({ store, providers: [provider], environment: { KEYS_API_KEY: 'sk-environment' } })
    await expect(broker.getToken(url).then((token) => token.reveal())).resolves.toBe('sk-environment')
    await expect(broker.route({ service: 'responses' })).resolves.toMatchObject({ account: '$KEYS_API_KEY' })
    await broker.close()
    await store.close()
    await expect(readFile(path, 'utf8')).resolves.toBe('not a credential file')
    await rm(directory, { recursive: true })
  })

  test('is of its kind, and no other', async () => {
    const { broker } = await scene({ KEYS_TOKEN: 'at-environment' })
    await expect(broker.getToken(url).then((token) => token.reveal())).resolves.toBe('sk-stored')
    const token = await broker.getToken('https://api.example/tokens/x')
    expect(token.reveal()).toBe('at-environment')
  })

  test('that is empty is none, and a stored account can be asked for by name', async () => {
    const empty = await scene({ KEYS_API_KEY: ' ' })
    await expect(empty.broker.getToken(url).then((token) => token.reveal())).resolves.toBe('sk-stored')
    const { broker } = await scene({ KEYS_API_KEY: 'sk-environment' })
    const token = await broker.getToken(url, { account: 'default' })
    expect(token.reveal()).toBe('sk-stored')
  })

  test('that an API refuses is not replaced by another in silence', async () => {
    const { broker } = await scene({ KEYS_API_KEY: 'sk-environment' })
    await expect(broker.getToken(url, { rejected: 'sk-environment' })).rejects.toMatchObject({
      code: 'authorization_required',
      message: expect.stringContaining('$KEYS_API_KEY') as string,
      detail: { account: '$KEYS_API_KEY', reason: 'refused' },
      loginCommand: undefined,
    })
  })

  test('is explained under the name of its variable, and never shown', async () => {
    const { broker } = await scene({ KEYS_API_KEY: 'sk-environment' })
    const explanation = await broker.explain(url)
    expect(explanation).toMatchObject({ verdict: 'use', candidates: [{ account: '$KEYS_API_KEY', type: 'api_key' }] })
    expect(JSON.stringify(explanation)).not.toContain('sk-')
  })

  test('of no provider is left alone', async () => {
    const { broker } = await scene({ OTHER_API_KEY: 'sk-other' }, [])
    await expect(broker.getToken(url)).rejects.toMatchObject({ code: 'authorization_required' })
    await expect(broker.getToken(url, { account: '$OTHER_API_KEY' })).rejects.toMatchObject({
      code: 'authorization_required',
    })
  })
})
