import { expect, test } from 'vitest'
import { replay } from './explore.ts'
import { load } from './load.ts'
import { all } from './settings.ts'

const Broker = await load()

// Schedules that broke a rule once. The words of `tell` say what interferes, and when.
test.each([
  [
    'a login between the claim and the mark stops the request',
    'two, strict, proof | after A commits 1 > another program logs in',
  ],
  [
    'an answer that comes after a login of another program is nobody’s fault',
    'two, strict, proof | after A commits 2 > another program logs in',
  ],
  [
    'a login between the last write and the last look is used, and no fault of the server',
    'two, strict, proof | after A commits 5 > another program logs in',
  ],
  [
    'a token that somebody else got, with the same refresh token, is a reason not to refresh',
    'two, none, proof | A commits 1 > A stops',
  ],
  [
    'the one second try is waited for before anybody is told to log in',
    'four busy, grace, no proof | A hears 1 > A dies',
  ],
  [
    'who finds a dead login looks again before giving up',
    "two, strict, proof | A's request arrives 1 > A's request: revoked | after A commits 3 > another program logs in",
  ],
  [
    'a token that comes late does not make a refresh token good that has been spent since',
    "two, strict, proof | A commits 5 > A stops | B's request arrives 1 > B's request: 500 after rotating",
  ],
  [
    'a lease that cannot be given back is no doubt for whoever knows that nothing was spent',
    'two each, strict, no proof | A lists 1 > somebody logs in | A commits 2 > A stops | B looks up 1 > A goes on | A commits 4 > A finds the disk full',
  ],
  [
    'a lease that was free when it was looked at, and has been sent since, is not taken',
    'two, strict, no proof | A commits 2 > A stops | B commits 1 > A goes on | after A commits 2 > B commits',
  ],
])('%s', async (_, schedule) => {
  const { violation, trace } = await replay(Broker, schedule, all)
  expect(violation, trace).toBeUndefined()
})
