import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'

interface Import {
  readonly from: string
  readonly specifier: string
  readonly kind: 'static' | 'type' | 'dynamic'
}

const src = fileURLToPath(new URL('../src/', import.meta.url))
const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .map((path) => path.split(sep).join('/'))
  .filter((path) => path.endsWith('.ts'))
  .sort()
const imports = files.flatMap((path) => importsOf(path, readFileSync(join(src, path), 'utf8')))

function importsOf(from: string, text: string): readonly Import[] {
  const found: Import[] = []
  const add = (node: ts.Node | undefined, kind: Import['kind']): void => {
    if (node !== undefined && ts.isStringLiteralLike(node)) found.push({ from, specifier: node.text, kind })
    else if (node !== undefined) found.push({ from, specifier: '(computed)', kind })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, isTypeOnly(node.importClause) ? 'type' : 'static')
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly ? 'type' : 'static')
    else if (ts.isImportTypeNode(node)) add(ts.isLiteralTypeNode(node.argument) ? node.argument.literal : node, 'type')
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(node.arguments[0], 'dynamic')
    } else if (ts.isCallExpression(node) && node.expression.getText() === 'require') add(node.arguments[0], 'static')
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(from, text, ts.ScriptTarget.ESNext, true))
  return found
}

/** With `verbatimModuleSyntax`, `import { type A }` still loads the module; only `import type` does not. */
function isTypeOnly(clause: ts.ImportClause | undefined): boolean {
  return clause?.phaseModifier === ts.SyntaxKind.TypeKeyword
}

const room = (path: string): string => (path.includes('/') ? path.slice(0, path.indexOf('/')) : 'root')
const target = (each: Import): string =>
  relative(src, join(src, dirname(each.from), each.specifier))
    .split(sep)
    .join('/')
const local = imports.filter(({ specifier }) => specifier.startsWith('.'))
const say = (each: Import): string => `${each.from} → ${each.specifier} (${each.kind})`

/** What each room may import besides itself. `index` is the public surface: everything but the command line. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  root: [],
  formats: ['root'],
  store: ['root', 'formats'],
  grant: ['root'],
  providers: ['root'],
  broker: ['root', 'formats', 'store', 'grant', 'providers'],
  adapters: ['root', 'formats', 'store', 'grant', 'providers', 'broker'],
  cli: ['root', 'formats', 'store', 'grant', 'providers', 'broker', 'adapters', 'index'],
  index: ['root', 'formats', 'store', 'grant', 'providers', 'broker', 'adapters'],
}
const roomOf = (path: string): string => (path === 'index.ts' ? 'index' : room(path))

describe('imports', () => {
  it('are found at all', () => {
    expect(local.length).toBeGreaterThan(20)
    const text =
      "import a from 'a'\nimport type b from 'b'\nimport { type c } from 'c'\nexport * from 'd'\n" +
      "export type { e } from 'e'\nconst f = await import('f')\ntype G = import('g').H\nimport 'h'\n// import 'i'\nimport(j)"
    expect(importsOf('x.ts', text).map(({ specifier, kind }) => `${specifier} ${kind}`)).toEqual([
      'a static',
      'b type',
      'c static',
      'd static',
      'e type',
      'f dynamic',
      'g type',
      'h static',
      '(computed) dynamic',
    ])
  })

  it('go one way: root ← store, formats, grant, providers ← broker ← adapters ← cli', () => {
    const wrong = local.filter((each) => {
      const [from, to] = [roomOf(each.from), roomOf(target(each))]
      return from !== to && allowed[from]?.includes(to) !== true
    })
    expect(wrong.map(say)).toEqual([])
  })

  it('name files that exist, with their extension', () => {
    expect(local.filter((each) => !files.includes(target(each))).map(say)).toEqual([])
  })

  it('are never computed', () => {
    expect(imports.filter(({ specifier }) => specifier === '(computed)').map(say)).toEqual([])
  })

  it('run in no circle', () => {
    const graph = new Map(
      files.map((path) => [path, local.filter((each) => each.from === path && each.kind === 'static').map(target)]),
    )
    const done = new Set<string>()
    const circles: string[] = []
    const walk = (path: string, trail: readonly string[]): void => {
      if (trail.includes(path)) circles.push([...trail.slice(trail.indexOf(path)), path].join(' → '))
      if (done.has(path) || trail.includes(path)) return
      for (const next of graph.get(path) ?? []) walk(next, [...trail, path])
      done.add(path)
    }
    for (const path of files) walk(path, [])
    expect(circles).toEqual([])
  })

  it('of heavy packages are made when they are needed, not when authkeep is loaded', () => {
    const heavy = [
      'openid-client',
      'jose',
      'zod',
      'proper-lockfile',
      'write-file-atomic',
      'open',
      'oauth4webapi',
      'uqr',
      'undici',
      'tough-cookie',
    ]
    const name = ({ specifier }: Import): string => specifier.split('/')[0] ?? ''
    expect(imports.filter((each) => each.kind === 'static' && heavy.includes(name(each))).map(say)).toEqual([])
  })

  it('of what looks for the cause of a failure are made when something has failed', () => {
    const reached = new Set(['index.ts'])
    for (const path of reached) {
      for (const each of local) if (each.from === path && each.kind === 'static') reached.add(target(each))
    }
    expect(reached).toContain('broker/diagnose.ts')
    expect(
      [...reached].filter((path) => /diagnose-|refusal-marks|limits|said|scopes-named|verdict/.test(path)),
    ).toEqual([])
  })

  it('from outside are the dependencies that package.json declares, and Node', () => {
    const text = readFileSync(join(src, '../package.json'), 'utf8')
    const manifest = JSON.parse(text) as { dependencies: object; peerDependencies: object }
    const outside = imports.filter(({ specifier }) => !/^(\.|node:)/.test(specifier))
    const known = [...Object.keys(manifest.dependencies), ...Object.keys(manifest.peerDependencies)]
    expect(
      outside
        .filter(({ specifier }) => !known.some((each) => specifier === each || specifier.startsWith(`${each}/`)))
        .map(say),
    ).toEqual([])
  })
})

describe('folders', () => {
  it('are one level deep', () => expect(files.filter((path) => path.split('/').length > 2)).toEqual([]))

  it('are the rooms and nothing else', () => {
    const rooms = new Set(files.filter((path) => path.includes('/')).map(room))
    expect([...rooms].filter((name) => !(name in allowed))).toEqual([])
    for (const name of ['utils', 'helpers', 'common', 'types']) expect(rooms).not.toContain(name)
  })
})
