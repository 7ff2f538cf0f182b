import { readFile, stat } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest'
import { completeLogin, type FinalPage } from '../../examples/server/robot.ts'
import { type OtherAccount, type OtherAccountDecision, suggestAccount } from '../../src/broker/other-account.ts'
import { Secret } from '../../src/credential.ts'
import type { GrantAnswer, GrantFlow } from '../../src/grant/flow.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import type { CredentialInfo } from '../../src/store/store.ts'
import { expectNoSecret, oauth } from '../grant/setup.ts'
import { key, type Stage, setStage } from './stage.ts'

let stage: Stage
beforeEach(async () => {
  stage = await setStage({
    configure: (server) => ({
      ...server,
      claims: { openid: ['sub', 'email'] },
      conformIdTokenClaims: false,
      findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@mail.example` }) }),
    }),
  })
  await stage.login()
  stage.server.reset()
})
afterEach(() => stage.stop())

const everything = async (): Promise<unknown> => {
  const { ino, mtimeNs } = await stat(stage.path, { bigint: true })
  return { ino, mtimeNs, text: await readFile(stage.path, 'utf8') }
}

/** A login, the questions that came of it, and the page it ended on. */
function loginOf(
  login: string,
  answers: readonly (OtherAccountDecision | (() => Promise<OtherAccountDecision>))[],
  { account = 'default', signal }: { account?: string; signal?: AbortSignal } = {},
): { readonly done: Promise<CredentialInfo>; readonly asked: OtherAccount[]; readonly pages: Promise<FinalPage>[] } {
  const asked: OtherAccount[] = []
  const pages: Promise<FinalPage>[] = []
  const flow = loopbackFlow({ openBrowser: (url) => void pages.push(completeLogin(url, { login })) })
  const onOtherAccount = async (question: OtherAccount): Promise<OtherAccountDecision> => {
    const answer = answers[asked.push(question) - 1] ?? 'decline'
    return typeof answer === 'function' ? answer() : answer
  }
  const options = { onOtherAccount, ...(signal === undefined ? {} : { signal }) }
  return { done: stage.broker.authorize({ provider: 'demo', account }, flow, options), asked, pages }
}

const logins = (): unknown => stage.server.counts().token['authorization_code']
const subjects = async (): Promise<unknown> =>
  (await stage.store.list()).map(({ account, subject }) => [account, subject]).toSorted()

describe('a login that arrives at another account', () => {
  it('is stored beside the other one under the name that was chosen, without a second login', async () => {
    const before = await stage.credential()
    const { done, asked, pages } = loginOf('bob', [{ account: 'work' }])
    expect(await done).toMatchObject({ account: 'work', subject: 'bob' })
    expect(asked).toEqual([
      {
        ...{ provider: 'demo', account: 'default', suggestion: 'bob@mail.example' },
        stored: { type: 'oauth', subject: 'alice', name: 'alice@mail.example' },
        arrived: { type: 'oauth', subject: 'bob', name: 'bob@mail.example' },
      },
    ])
    expect(await stage.credential()).toEqual(before)
    expect([logins(), stage.server.counts().revoked]).toEqual([1, 0])
    expect((await pages[0])?.html).toContain('“work”')
    await stage.expire()
    for (const account of ['default', 'work']) await stage.broker.getToken(stage.urls.files, { account })
    const stored = await stage.store.read({ ...key, account: 'work' })
    expectNoSecret(asked, stored?.type === 'oauth' ? [stored.grant.refreshToken?.reveal() ?? ''] : [])
  })

  it('takes the place of the other one, and nothing of that one goes on', async () => {
    await stage.store.update(key, (current) => current && { ...current, metadata: { of: 'alice' } })
    const { done } = loginOf('bob', ['replace'])
    expect(await done).toMatchObject({ account: 'default', subject: 'bob', generation: 1 })
    expect((await stage.credential()).metadata).toBeUndefined()
    expect([await subjects(), logins(), stage.server.counts().revoked]).toEqual([[['default', 'bob']], 1, 0])
  })

  it.each<[string, OtherAccountDecision | (() => Promise<never>), unknown]>([
    ['that is declined', 'decline', expect.objectContaining({ code: 'account_ambiguous' })],
    ['for the name that is taken', { account: 'default' }, expect.objectContaining({ code: 'account_ambiguous' })],
    ['for no name', { account: '' }, expect.any(TypeError)],
    ['with a question that fails', () => Promise.reject(new Error('asleep')), new Error('asleep')],
  ])('%s changes nothing, byte by byte, and is revoked', async (_, answer, error) => {
    const before = await everything()
    const { done, pages } = loginOf('bob', [answer])
    await expect(done).rejects.toEqual(error)
    expect((await pages[0])?.status).toBe(400)
    expect(await everything()).toEqual(before)
    expect(stage.server.counts().revoked).toBeGreaterThan(0)
  })

  it('and is cancelled during the question changes nothing, and is revoked', async () => {
    const before = await everything()
    const cancel = new AbortController()
    const never = (): Promise<never> => {
      cancel.abort(new Error('cancelled'))
      return new Promise(() => undefined)
    }
    await expect(loginOf('bob', [never], { signal: cancel.signal }).done).rejects.toThrow('cancelled')
    expect(await everything()).toEqual(before)
    expect(stage.server.counts().revoked).toBeGreaterThan(0)
  })

  it('is asked about again where the chosen name is somebody else’s, too', async () => {
    await loginOf('carol', [], { account: 'work' }).done
    const { done, asked } = loginOf('bob', [{ account: 'work' }, { account: 'home' }])
    await done
    expect(asked.map(({ account, stored }) => [account, stored.subject])).toEqual([
      ['default', 'alice'],
      ['work', 'carol'],
    ])
    expect(await subjects()).toEqual([
      ['default', 'alice'],
      ['home', 'bob'],
      ['work', 'carol'],
    ])
  })

  it('is proposed the name of an earlier login of the same person', async () => {
    await loginOf('bob', [], { account: 'work' }).done
    const { done, asked } = loginOf('bob', [{ account: 'work' }])
    expect(await done).toMatchObject({ account: 'work', generation: 2 })
    expect(asked[0]?.suggestion).toBe('work')
  })

  it('does not replace somebody who came during the question', async () => {
    const { done } = loginOf('bob', [
      async () => {
        await stage.store.update(
          key,
          (current) => (current?.type === 'oauth' && { ...current, subject: 'carol' }) || undefined,
        )
        return 'replace'
      },
    ])
    await expect(done).rejects.toMatchObject({ code: 'account_ambiguous' })
    expect(await subjects()).toEqual([['default', 'carol']])
  })

  it('with the refresh token of the other one is refused, and that token is not revoked', async () => {
    const { refreshToken } = (await stage.credential()).grant
    const same: GrantFlow = {
      name: 'same',
      run: async (request) => {
        const flow = loopbackFlow({ openBrowser: (url) => void completeLogin(url, { login: 'bob' }) })
        const answer = oauth(await flow.run({ ...request, keep: () => Promise.resolve() }))
        return { ...answer, token: { ...answer.token, refreshToken } }
      },
    }
    const onOtherAccount = async (): Promise<OtherAccountDecision> => ({ account: 'work' })
    await expect(
      stage.broker.authorize({ provider: 'demo', account: 'default' }, same, { onOtherAccount }),
    ).rejects.toMatchObject({
      code: 'account_ambiguous',
    })
    expect(stage.server.counts().revoked).toBe(0)
    await stage.expire()
    await stage.broker.getToken(stage.urls.files, { account: 'default' })
  })
})

test('nobody is asked where the login is of the same account', async () => {
  const { done, asked } = loginOf('alice', [])
  expect(await done).toMatchObject({ account: 'default', generation: 2 })
  expect(asked).toEqual([])
})

test('two logins of one run do not end in one place', async () => {
  const before = await everything()
  const flow = (login: string): GrantFlow =>
    loopbackFlow({ openBrowser: (url) => void completeLogin(url, { login }).catch(() => undefined) })
  const work = stage.broker.onboard(
    [
      { target: { provider: 'demo', account: 'work' }, flow: flow('carol') },
      { target: { provider: 'demo', account: 'default' }, flow: flow('bob') },
    ],
    { onOtherAccount: async () => ({ account: 'work' }) },
  )
  await expect(work).rejects.toMatchObject({ code: 'account_ambiguous' })
  expect(await everything()).toEqual(before)
})

describe('the name that is proposed', () => {
  const answer = (subject: string | null, claims: object | null): GrantAnswer => ({
    ...{ type: 'oauth', scopes: ['a'], evidence: 'response', resources: [] },
    token: {
      ...{ accessToken: new Secret('at'), tokenType: 'Bearer', scopes: ['a'], evidence: 'response', resource: null },
      ...{ expiresAt: null, refreshToken: null, refreshExpiresAt: null, obtainedAt: 0, subject },
      idToken: claims === null ? null : new Secret(`e.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.s`),
    },
  })
  const info = (account: string, more: Partial<CredentialInfo> = {}): CredentialInfo => ({
    ...{ provider: 'demo', account, type: 'oauth', issuer: 'i' },
    ...more,
  })

  it.each<[string, string | null, object | null, CredentialInfo[], string]>([
    ['the e-mail address', 's', { email: 'bob@mail.example', preferred_username: 'bob' }, [], 'bob@mail.example'],
    ['the user name', 's', { preferred_username: 'bob' }, [], 'bob'],
    ['the subject', 'auth0|12', {}, [], 'auth0-12'],
    ['of nobody', null, null, [], 'other'],
    ['one more where it is taken', 'bob', null, [info('bob')], 'bob-2'],
    ['of another issuer, one more', 'bob', null, [info('bob', { issuer: 'j', subject: 'bob' })], 'bob-2'],
    ['never with what steers a terminal', 's', { email: '\u001B[2J\u202Ebob ; rm' }, [], '2J-bob-rm'],
    ['never an option', '--local', null, [], 'local'],
    ['that of an earlier login', 'bob', null, [info('work', { subject: 'bob', scopes: ['a'] })], 'work'],
    ['not where that can do more', 'bob', null, [info('work', { subject: 'bob', scopes: ['a', 'b'] })], 'bob'],
  ])('%s', (_, subject, claims, stored, name) => {
    expect(suggestAccount(answer(subject, claims), 'i', stored, ['default'])).toBe(name)
  })
})
