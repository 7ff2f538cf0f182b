import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { demoProvider } from '../server/demo-provider.ts'
import { completeLogin } from '../server/robot.ts'
import { hold, type Scene } from './play.ts'
import { readable, redacted } from './secrecy.ts'
import type { Stage } from './stage.ts'

export function onboard(stage: Stage): Scene {
  return {
    name: 'onboard',
    title: 'A provider is a file, and a login is one command.',
    async play(voice) {
      const { server, api, home, path } = stage
      const file = join(home, 'demo.json')
      await writeFile(file, JSON.stringify(demoProvider(server, { api: api.origin })))
      voice.command('$ authkeep providers add demo.json')
      const added = await stage.cli('providers', 'add', file)
      hold(
        added.code === 0,
        `providers add ended with ${added.code ?? 'a signal'}: ${added.stderr.split('\n', 1)[0] ?? ''}`,
      )
      voice.quote(added.stdout)

      voice.command('$ authkeep login demo --no-browser')
      const child = stage.startCli('login', 'demo', '--no-browser', '--timeout', '20')
      const address = await child.heard(/^http/)
      hold(address !== null, 'the login showed no address')
      const url = new URL(address)
      voice.quote(`To log in to demo, open this address:\n${url.origin}${url.pathname}?…`)
      voice.say(
        'A robot follows the redirects and fills in the forms as a person would: it signs in as alice and allows what is asked for.',
      )
      const page = await completeLogin(url)
      hold(page.status === 200, `the last page of the login was a ${page.status}`)
      const run = await child.ended
      hold(run.code === 0, `login ended with ${run.code ?? 'a signal'}`)
      voice.quote(run.stdout)

      const document = redacted(await readFile(path, 'utf8'))
      const mode = `0${((await stat(path)).mode & 0o777).toString(8)}`
      hold(mode === '0600' || process.platform === 'win32', `auth.json has mode ${mode}`)
      voice.say(`auth.json, mode ${mode}, with its secrets struck out:`)
      voice.quote(readable(document))
      const logins = server.counts().token['authorization_code'] ?? 0
      hold(logins === 1, `the server counted ${logins} logins`)
      return { ...{ provider: 'demo', issuer: server.issuer, logins, mode }, authJson: document }
    },
  }
}
