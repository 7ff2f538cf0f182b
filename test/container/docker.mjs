// Stands in for `docker` where there is none: build, run, exec, stop and kill, as far as docs/containers.md and its
// tests need them. Mount, pid, IPC and UTS namespaces, an overlay, bind mounts, pivot_root and setpriv are the real
// ones. In the place of the base image stands a tree with this machine's /usr and Node; containers have this machine's
// network, and npm has its settings. BOX names a directory for all of it.
import { spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { DockerfileParser } from 'dockerfile-ast'

const box = process.env['BOX'] ?? ''
const enter = fileURLToPath(new URL('enter.sh', import.meta.url))
const at = (...names) => join(box, ...names)
const readJson = (path) => JSON.parse(fs.readFileSync(path, 'utf8'))
const directory = (path) => fs.mkdirSync(path, { recursive: true })

/** Where Node is installed; what is not below /usr is shown at /usr/local, where the base image has it. */
const prefix = resolve(process.execPath, '../..')
const system = [['bind', '/usr', '/usr', 'ro'], ...(prefix === '/usr' ? [] : [['bind', prefix, '/usr/local', 'ro']])]

const commands = { build, run, exec, stop, kill }
const [command, ...words] = process.argv.slice(2)
process.exitCode = await commands[command](words)

/** Carries out a Dockerfile; every RUN is run by a shell in a container of the image as it is until then. */
async function build(args) {
  const { values, positionals } = parse(args, { tag: { type: 'string', short: 't' } })
  const context = positionals[0]
  const tree = at('images', values.tag)
  const image = { env: {}, user: '0:0', workdir: '/', entrypoint: [], healthcheck: [], volumes: [] }
  for (const { keyword, text, words } of steps(fs.readFileSync(join(context, 'Dockerfile'), 'utf8'))) {
    switch (keyword) {
      case 'FROM':
        if (text !== 'node:22-slim') throw new Error(`there is no ${text} here`)
        baseTree(tree)
        Object.assign(image.env, { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' })
        break
      case 'ENV':
        for (const [, name, value] of text.matchAll(/(\w+)=(\S+)/g))
          image.env[name] = value.replaceAll(/\$(\w+)/g, (_, of) => image.env[of] ?? '')
        break
      case 'WORKDIR':
        image.workdir = text
        directory(join(tree, text))
        break
      case 'COPY': {
        const names = text.split(/\s+/)
        const to = resolve(image.workdir, names.pop())
        for (const pattern of names) {
          const found = fs.readdirSync(context).filter((name) => matches(name, pattern))
          if (found.length === 0) throw new Error(`COPY ${pattern}: there is none`)
          for (const name of found) fs.cpSync(join(context, name), join(tree, to, name))
        }
        break
      }
      case 'RUN': {
        const userconfig = spawnSync('npm', ['config', 'get', 'userconfig'], { encoding: 'utf8' }).stdout.trim()
        const mounts = fs.existsSync(userconfig) ? [['bind', userconfig, '/run/npmrc', 'ro']] : []
        const settings = Object.entries(process.env).filter(([name]) => /^npm_config_(?!cache)/i.test(name))
        const npm = { ...Object.fromEntries(settings), npm_config_userconfig: '/run/npmrc' }
        const env = { ...npm, ...image.env, HOME: '/root' }
        const child = contain({ tree, mode: 'build', mounts, image, env, program: words ?? ['/bin/sh', '-c', text] })
        if ((await codeOf(child)) !== 0) throw new Error(`RUN ${text}`)
        break
      }
      case 'VOLUME':
        image.volumes.push(...words)
        break
      case 'USER':
        image.user = text
        break
      case 'HEALTHCHECK':
        image.healthcheck = words
        break
      case 'ENTRYPOINT':
        image.entrypoint = words
        break
      default:
        throw new Error(`${keyword} is not known here`)
    }
  }
  fs.writeFileSync(`${tree}.json`, JSON.stringify(image))
  return 0
}

/** Each instruction: its argument with continued lines joined, and its words where it is in the exec form. */
function steps(text) {
  return DockerfileParser.parse(text)
    .getInstructions()
    .map((each) => {
      const text = each.getRawArgumentsContent().replaceAll(/\\\n\s*/g, '')
      const words = /(?:^|CMD )(\[.*\])$/.exec(text)?.[1]
      return { keyword: each.getKeyword(), text, words: words === undefined ? null : JSON.parse(words) }
    })
}

function baseTree(tree) {
  for (const name of ['usr', 'etc', 'proc', 'dev', 'run', 'root', 'tmp', 'var', 'home/node'])
    directory(join(tree, name))
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) fs.symlinkSync(`usr/${name}`, join(tree, name))
  fs.chmodSync(join(tree, 'root'), 0o700)
  fs.chmodSync(join(tree, 'tmp'), 0o1777)
  fs.chownSync(join(tree, 'home/node'), 1000, 1000)
  fs.writeFileSync(join(tree, '.dockerenv'), '')
  fs.writeFileSync(join(tree, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n')
  fs.writeFileSync(join(tree, 'etc/group'), 'root:x:0:\nnode:x:1000:\n')
  for (const name of ['hosts', 'resolv.conf', 'nsswitch.conf', 'ld.so.cache', 'ssl', 'ca-certificates'])
    if (fs.existsSync(`/etc/${name}`))
      fs.cpSync(`/etc/${name}`, join(tree, 'etc', name), { recursive: true, dereference: true })
}

async function run(args) {
  const { values, positionals } = parse(args, {
    name: { type: 'string' },
    entrypoint: { type: 'string' },
    user: { type: 'string', short: 'u' },
    volume: { type: 'string', short: 'v', multiple: true, default: [] },
    env: { type: 'string', short: 'e', multiple: true, default: [] },
    tmpfs: { type: 'string', multiple: true, default: [] },
    'read-only': { type: 'boolean', default: false },
    // A user that is not root never has a capability here, nor ways to one.
    'cap-drop': { type: 'string' },
    'security-opt': { type: 'string' },
    detach: { type: 'boolean', short: 'd', default: false },
  })
  const [tag, ...rest] = positionals
  const image = { ...readJson(at('images', `${tag}.json`)) }
  const tree = at('images', tag)
  const user = values.user ?? image.user
  const named = values.volume
    .map((text) => text.split(':'))
    .map(([from, to, access = 'rw']) => ['bind', source(from, join(tree, to)), to, access])
  const anonymous = image.volumes
    .filter((path) => !named.some(([, , to]) => to === path))
    .map((path, index) => ['bind', source(`anonymous-${process.pid}-${index}`, join(tree, path)), path, 'rw'])
  const mounts = [...anonymous, ...named, ...values.tmpfs.map((path) => ['tmpfs', 'tmpfs', path, 'rw'])]
  const env = { ...image.env, ...Object.fromEntries(values.env.map((text) => text.split(/=(.*)/s).slice(0, 2))) }
  // As Docker does: the home of the user's entry, and / for whoever has none.
  env.HOME ??= { 0: '/root', 1000: '/home/node' }[user.split(':')[0]] ?? '/'
  const program = values.entrypoint === undefined ? [...image.entrypoint, ...rest] : [values.entrypoint, ...rest]
  const name = values.name ?? `container-${process.pid}`
  const log = values.detach ? fs.openSync(at(`${name}.log`), 'a') : null
  const mode = values['read-only'] ? 'ro' : 'rw'
  const stdio = log === null ? 'inherit' : ['ignore', log, log]
  const child = contain({ tree, mode, mounts, image: { ...image, user }, env, program, stdio, detached: log !== null })
  fs.writeFileSync(
    at(`${name}.json`),
    JSON.stringify({ pid: child.pid, env, user, workdir: image.workdir, healthcheck: image.healthcheck }),
  )
  if (log === null) return codeOf(child)
  child.unref()
  return 0
}

/** What is mounted: a path of this machine, or a volume, which begins as what the image has in its place. */
function source(from, original) {
  if (from.startsWith('/')) return from
  const path = at('volumes', from)
  if (!fs.existsSync(path)) {
    directory(at('volumes'))
    spawnSync('cp', ['-a', original, path])
  }
  return path
}

/** Starts a program as process 1 of new namespaces. */
function contain({ tree, mode, mounts, image, env, program, stdio = 'inherit', detached = false }) {
  const scratch = fs.mkdtempSync(at('scratch-'))
  const table = `${scratch}.mounts`
  fs.writeFileSync(table, [...system, ...mounts].map((each) => `${each.join('\t')}\n`).join(''))
  const namespaces = ['--mount', '--pid', '--ipc', '--uts', '--fork', '--kill-child']
  return spawn('unshare', [...namespaces, 'bash', enter, tree, mode, scratch, table, ...as(image, env), ...program], {
    stdio,
    detached,
  })
}

/** The words that make a command run as somebody, somewhere, with nothing else in its environment. */
function as({ user, workdir }, env) {
  const [uid, gid = '0'] = user.split(':')
  const mighty = uid === '0' ? [] : ['--inh-caps=-all', '--bounding-set=-all', '--no-new-privs']
  return [
    'setpriv',
    `--reuid=${uid}`,
    `--regid=${gid}`,
    '--clear-groups',
    ...mighty,
    ...'env -i'.split(' '),
    `--chdir=${workdir}`,
    ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
  ]
}

async function exec(args) {
  const { positionals } = parse(args, {})
  const [name, ...program] = positionals
  const container = readJson(at(`${name}.json`))
  const what = program[0] === 'HEALTHCHECK' ? container.healthcheck : program
  const target = ['--target', String(processOne(container.pid)), '--mount', '--pid', '--ipc', '--uts']
  return codeOf(spawn('nsenter', [...target, ...as(container, container.env), ...what], { stdio: 'inherit' }))
}

/** SIGTERM, and SIGKILL after ten seconds. */
async function stop([name]) {
  return (await end(name, 'SIGTERM')) ? 0 : kill([name])
}

async function kill([name]) {
  return (await end(name, 'SIGKILL')) ? 0 : 1
}

/** Whether process 1 ends of a signal in ten seconds. */
async function end(name, signal) {
  const { pid } = readJson(at(`${name}.json`))
  const one = processOne(pid)
  if (one !== null) process.kill(one, signal)
  return isGone(pid, 10_000)
}

async function isGone(pid, ms) {
  const end = Date.now() + ms
  while (Date.now() < end) {
    if (!fs.existsSync(`/proc/${pid}`) || /^\d+ \(.*\) Z/.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8')))
      return true
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return false
}

/** The number that process 1 has outside, while there is one: it is the only child of unshare. */
function processOne(pid) {
  const path = `/proc/${pid}/task/${pid}/children`
  const children = fs.existsSync(path) ? fs.readFileSync(path, 'utf8').trim() : ''
  return /^\d+$/.test(children) ? Number(children) : null
}

function parse(args, options) {
  const flags = ['rm', 'interactive', 'tty'].map((name) => [
    name,
    { type: 'boolean', short: name[0] === 'r' ? undefined : name[0] },
  ])
  // Docker stops reading options at the first word that is none.
  const takesValue = (word) =>
    Object.entries(options).some(
      ([name, { type, short }]) => type === 'string' && (word === `--${name}` || word === `-${short}`),
    )
  let end = 0
  while (args[end]?.startsWith('-')) end += takesValue(args[end]) ? 2 : 1
  const all = {
    ...options,
    ...Object.fromEntries(
      flags.map(([name, { type, short }]) => [name, short === undefined ? { type } : { type, short }]),
    ),
  }
  return { values: parseArgs({ args: args.slice(0, end), options: all }).values, positionals: args.slice(end) }
}

function matches(name, pattern) {
  const [before, after] = pattern.split('*')
  return after === undefined ? name === pattern : name.startsWith(before) && name.endsWith(after)
}

function codeOf(child) {
  return new Promise((resolve) => child.once('close', (code, signal) => resolve(code ?? (signal === null ? 1 : 137))))
}
