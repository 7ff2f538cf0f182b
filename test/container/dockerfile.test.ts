import { readFileSync } from 'node:fs'
import { DockerfileParser } from 'dockerfile-ast'
import { validate } from 'dockerfile-utils'
import { describe, expect, it } from 'vitest'

const dockerfile = readFileSync(new URL('../../examples/container/Dockerfile', import.meta.url), 'utf8')

/** What the instructions of one kind say. */
type Said = (keyword: string) => readonly string[]

/** What dockerfile-utils, which knows the syntax and its traps, does not look at. */
const rules: Readonly<Record<string, (said: Said) => boolean>> = {
  'every base image has a version': (said) => said('FROM').every((text) => /:(?!latest)[\w.-]+$/.test(text)),
  'runs as a user that is not root, by number': (said) => /^[1-9]\d*(:\d+)?$/.test(said('USER').at(-1) ?? ''),
  'no argument or variable of the build is a secret': (said) =>
    [...said('ARG'), ...said('ENV')].every((text) => !/secret|token|password|_key/i.test(text)),
  'copies what it names, never the whole context': (said) =>
    [...said('COPY'), ...said('ADD')].every((text) => !/^\.\/?\s/.test(text)),
  'the program is process 1, without a shell around it': (said) => said('ENTRYPOINT').at(-1)?.startsWith('[') === true,
  'says when it is healthy, without a shell': (said) => /(^| )CMD \[/.test(said('HEALTHCHECK').at(-1) ?? ''),
  'keeps its state on a volume': (said) => said('VOLUME').length === 1,
}

function broken(text: string): readonly string[] {
  const instructions = DockerfileParser.parse(text).getInstructions()
  const said: Said = (keyword) =>
    instructions.flatMap((each) => (each.getKeyword() === keyword ? (each.getRawArgumentsContent() ?? '') : []))
  return [
    ...validate(text).map(({ message }) => (typeof message === 'string' ? message : message.value)),
    ...Object.entries(rules).flatMap(([name, holds]) => (holds(said) ? [] : [name])),
  ]
}

describe('examples/container/Dockerfile', () => {
  it('is well formed and keeps the rules', () => {
    expect(broken(dockerfile)).toEqual([])
  })

  it.each([
    ['node:22-slim', 'node', 'every base image has a version'],
    ['USER 1000:1000', 'USER node', 'runs as a user that is not root, by number'],
    ['USER 1000:1000', 'USER 0', 'runs as a user that is not root, by number'],
    ['WORKDIR /app', 'ARG CLIENT_SECRET', 'no argument or variable of the build is a secret'],
    ['COPY authkeep-*.tgz worker.mjs ./', 'COPY . ./', 'copies what it names, never the whole context'],
    ['["node", "worker.mjs"]', 'node worker.mjs', 'the program is process 1, without a shell around it'],
    ['VOLUME ["/authkeep"]', '', 'keeps its state on a volume'],
    ['HEALTHCHECK', '#', 'says when it is healthy, without a shell'],
    ['--interval=1m', '--interval=1', 'missing unit in duration'],
    ['WORKDIR /app', 'WORKDIR app', 'absolute'],
    ['RUN install', 'RUNN install', 'RUNN'],
  ])('%s, were it %s, would be found', (from, to, complaint) => {
    expect(dockerfile).toContain(from)
    expect(broken(dockerfile.replace(from, to)).join('\n')).toContain(complaint)
  })
})
