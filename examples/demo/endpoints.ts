import { isDeepStrictEqual } from 'node:util'
import { isAuthkeepError } from 'authkeep'
import { hold, type Scene } from './play.ts'
import { fingerprint } from './secrecy.ts'
import { call, expireTokens, type Stage } from './stage.ts'

export function endpointA(stage: Stage): Scene {
  return {
    name: 'endpoint-a',
    title: 'Ask for a URL, get the token that this URL takes.',
    async play(voice) {
      const { files } = stage.urls
      return stage.visit(async (_, broker) => {
        const token = await broker.getToken(files)
        const status = await call(files, token)
        hold(status === 200, `the API answered ${status}`)
        const { scopes, resource } = token
        const name = fingerprint(token.reveal())
        voice.command(`await broker.getToken('${files}')`)
        voice.quote(`token     ${name} (a fingerprint)\nscopes    ${scopes.join(' ')}\nresource  ${resource ?? 'none'}`)
        voice.say(`GET /files with it: ${status}.`)
        return { url: files, token: name, scopes, resource, status }
      })
    },
  }
}

export function endpointB(stage: Stage): Scene {
  return {
    name: 'endpoint-b',
    title: 'Another endpoint of the same login gets another token.',
    async play(voice) {
      const { files, mail } = stage.urls
      return stage.visit(async (_, broker) => {
        const before = stage.refreshes()
        const [tokenA, tokenB] = [await broker.getToken(files), await broker.getToken(mail)]
        const refreshes = stage.refreshes() - before
        const status = await call(mail, tokenB)
        hold(status === 200, `the API answered ${status}`)
        const statusOfA = await call(mail, tokenA)
        hold(statusOfA === 401 || statusOfA === 403, `the API took the token of another endpoint: ${statusOfA}`)
        const { scopes, resource } = tokenB
        const name = fingerprint(tokenB.reveal())
        voice.command(`await broker.getToken('${mail}')`)
        voice.quote(`token     ${name}\nscopes    ${scopes.join(' ')}\nresource  ${resource ?? 'none'}`)
        voice.say(
          `It took ${refreshes === 1 ? 'one refresh' : `${refreshes} refreshes`} and no login. GET /mail with it: ${status}.`,
        )
        voice.say(
          `GET /mail with the token of /files, ${fingerprint(tokenA.reveal())}: ${statusOfA}. Hence one token per endpoint.`,
        )
        return { url: mail, token: name, scopes, resource, status, refreshes, statusWithTokenOfA: statusOfA }
      })
    },
  }
}

export function scopeMissing(stage: Stage): Scene {
  return {
    name: 'scope-missing',
    title: 'What the login does not cover is known before anything is sent.',
    async play(voice) {
      const { sendMail } = stage.urls
      const sent = (): unknown => [stage.server.counts(), stage.api.counts()]
      const before = sent()
      const error: unknown = await stage.visit((_, broker) =>
        broker.getToken(sendMail).then(
          () => null,
          (thrown: unknown) => thrown,
        ),
      )
      hold(isAuthkeepError(error, 'scope_missing'), 'getToken did not refuse with scope_missing')
      const { missing } = error.detail
      hold(isDeepStrictEqual(missing, ['mail:send']), `the scopes named were ${missing.join(' ')}`)

      const { code, stdout, stderr } = await stage.cli('token', sendMail)
      hold(code === 4 && stdout === '', `authkeep token ended with ${code ?? 'a signal'}`)
      const remedy = /authkeep login demo .*--scope mail:send.*/.exec(stderr)?.[0]
      hold(remedy !== undefined, 'authkeep token named no login that would help')
      hold(isDeepStrictEqual(sent(), before), 'a request was sent')
      voice.command(`$ authkeep token ${sendMail}`)
      voice.quote(stderr)
      voice.say(`Exit code ${code}: a person is needed. The counters of both servers have not moved.`)
      return { url: sendMail, code: error.code, missing, remedy, exitCode: code, requestsSent: 0 }
    },
  }
}

export function stillLoggedIn(stage: Stage): Scene {
  return {
    name: 'still-logged-in',
    title: 'After all this, nobody has to log in again.',
    async play(voice) {
      const { files } = stage.urls
      const before = stage.refreshes()
      const status = await stage.visit(async (store, broker) => {
        await expireTokens(store)
        return call(files, await broker.getToken(files))
      })
      const { token, reuse, revoked } = stage.server.counts()
      const refreshes = stage.refreshes()
      const logins = token['authorization_code'] ?? 0
      hold(refreshes === before + 1, `the server counted ${refreshes - before} refreshes more`)
      hold(status === 200, `the API answered ${status}`)
      hold(reuse === 0 && revoked === 0, `the server counted ${reuse} reuses and ${revoked} revoked grants`)
      hold(logins === 1, `the server counted ${logins} logins`)
      voice.say('Once more every access token expires, and the refresh token has to prove itself.')
      voice.say(`One refresh, and GET /files is ${status}. Logins since the beginning: ${logins}.`)
      return { status, logins, refreshes, reuse, revoked }
    },
  }
}
