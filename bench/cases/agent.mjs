import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'

export const about = 'a shell asks for a token: authkeep reads its file, oidc-token asks an agent that has it in memory'

const run = promisify(execFile)
const client = { id: 'bench', secret: 'bench-secret' }

export async function* tables(bench) {
  const { server, home, url, newRefreshToken } = await setStage(bench)
  try {
    const ask = [process.execPath, `${bench.dist}/cli/main.js`, 'token', url, '--home', home]
    const contenders = [
      { name: 'node -e 0', sample: () => wallTime([process.execPath, '-e', '0']) },
      await printing('authkeep, the command', ask),
      await agentContender(bench, server.issuer, newRefreshToken),
    ]
    server.reset()
    yield {
      title: 'A program that prints a living token, from its start to its end',
      unit: 'ms',
      baseline: 'node -e 0',
      rounds: bench.rounds(15, 3),
      warmUps: 1,
      contenders,
      notes: () => [`requests at the token endpoint meanwhile: ${server.counts().arrived}`],
    }
  } finally {
    await server.stop()
  }
}

/** The embedded server, a login of authkeep's at it, and one more whose refresh token somebody else may have. */
async function setStage({ dist, scratch }) {
  const { loopbackFlow, openStore, saveProvider, TokenBroker } = await import(`${dist}/index.js`)
  const from = (file) => import(`${dist}/../build/examples/server/${file}.js`)
  const [{ startAuthorizationServer }, { demoProvider }, { completeLogin }] = await Promise.all(
    ['authorization-server', 'demo-provider', 'robot'].map(from),
  )
  // oidc-agent sends a secret even where there is none, which a server may refuse, and this one does.
  const registered = {
    client_id: client.id,
    client_secret: client.secret,
    token_endpoint_auth_method: 'client_secret_basic',
  }
  const server = await startAuthorizationServer({
    accessTokenSeconds: 3_600,
    configure: (configuration) => {
      const [native, ...others] = configuration.clients
      return { ...configuration, clients: [{ ...native, ...registered }, ...others] }
    },
  })
  const provider = demoProvider(server, { client })
  const loginAt = async (home) => {
    const store = await openStore({ path: join(home, 'auth.json') })
    const broker = new TokenBroker({ store, providers: [provider] })
    const openBrowser = (page) => void completeLogin(page).catch(() => undefined)
    await broker.authorize({ provider: provider.id }, loopbackFlow({ openBrowser }))
    const { grant } = await store.read({ provider: provider.id, account: 'default' })
    await broker.close()
    await store.close()
    return grant.refreshToken.reveal()
  }
  const home = scratch.directory('home')
  await saveProvider(join(home, 'providers'), provider)
  await loginAt(home)
  const newRefreshToken = () => loginAt(scratch.directory('other'))
  return { server, home, url: provider.endpoints[0].url, newRefreshToken }
}

async function agentContender(bench, issuer, newRefreshToken) {
  const name = 'oidc-token and its agent'
  try {
    await haveAgent(bench)
    const directory = bench.scratch.directory('oidc-agent')
    const socket = join(directory, 'socket')
    const { PATH } = process.env
    const env = { PATH, HOME: directory, OIDC_CONFIG_DIR: directory, OIDC_SOCK: socket }
    const agent = bench.scratch.talk('oidc-agent', ['-d', '-a', socket], { env })
    for (let n = 0; n < 500 && !existsSync(socket); n++) await delay(10)
    const words = [
      ...['bench', '--manual', `--iss=${issuer}`, `--client-id=${client.id}`, `--client-secret=${client.secret}`],
      ...['--scope=openid offline_access', '--redirect-uri=http://localhost:4242', '--rt-env', '--pw-env'],
      ...['--prompt=none', '--confirm-default', '--no-url-call'],
    ]
    const secretly = { ...env, OIDC_REFRESH_TOKEN: await newRefreshToken(), OIDC_ENCRYPTION_PW: 'bench' }
    await run('oidc-gen', words, { env: secretly, timeout: 20_000 })
    return { ...(await printing(name, ['oidc-token', 'bench'], env)), close: () => agent.end('SIGTERM') }
  } catch (error) {
    const text = String(error.stderr || error.message)
    return { name, absent: text.trim().split('\n').at(-1) }
  }
}

/** Installs Debian's package where that is possible, and says which version there is. */
async function haveAgent({ isQuick, peers }) {
  const version = () => run('oidc-token', ['--version'])
  const { stdout } = await version().catch(() => install(isQuick).then(version))
  peers.versions['oidc-agent'] = stdout.trim().split(' ').at(-1)
}

async function install(isQuick) {
  if (isQuick) throw new Error('oidc-agent-cli is not installed, and --quick does not install it')
  if (process.getuid?.() !== 0) throw new Error('oidc-agent-cli is not installed, and only root may install it')
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  console.error('installing oidc-agent-cli …')
  await run('apt-get', ['update', '-qq'], { env })
  await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'oidc-agent-cli'], { env })
}

/** A program that has been seen to print the same token twice. */
async function printing(name, words, env) {
  const [program, ...more] = words
  const [first, second] = [await run(program, more, { env }), await run(program, more, { env })]
  if (first.stdout.trim() === '' || first.stdout !== second.stdout) throw new Error(`${name} keeps no token`)
  return { name, sample: () => wallTime(words, env) }
}

const inOneSample = 10

/** How long a program takes by the clock, in milliseconds; not blocking, for the server is in this process. */
async function wallTime(words, env) {
  const loop = `TIMEFORMAT=%3R; time for i in {1..${inOneSample}}; do "$@" > /dev/null || exit 1; done`
  const { stderr } = await run('bash', ['-c', loop, 'bench', ...words], { env })
  return (Number(stderr.trim().split('\n').at(-1)) * 1_000) / inOneSample
}
