import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import { TokenBroker } from '../../src/broker/broker.ts'
import { conclude } from '../../src/broker/verdict.ts'
import { readArguments } from '../../src/cli/arguments.ts'
import { type Json, type JsonObject, parseKeyName } from '../../src/credential.ts'
import { nativeFormat } from '../../src/formats/native.ts'
import * as api from '../../src/index.ts'
import { decodeEntry } from '../../src/store/entry.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const text = (path: string): string => readFileSync(join(root, path), 'utf8')
const documents = [
  ...['README.md', 'ARCHITECTURE.md', 'SECURITY.md', 'CHANGELOG.md'],
  ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`),
].filter((path) => path.endsWith('.md'))

interface Block {
  readonly where: string
  readonly language: string
  readonly code: string
}

const blocks: readonly Block[] = documents.flatMap((path) =>
  [...text(path).matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(([, language = '', code = ''], index) => ({
    where: `${path} #${index + 1}`,
    language,
    code,
  })),
)
const inLanguage = (language: string): readonly Block[] => blocks.filter((block) => block.language === language)
const programsIn = (language: string): readonly Block[] =>
  inLanguage(language).filter(({ code }) => code.includes("from 'authkeep'"))

describe('the TypeScript in the documents', () => {
  it('compiles against the built package, strictly', () => {
    expect(existsSync(join(root, 'dist/index.d.ts')), 'build first: the package is what is checked against').toBe(true)
    const snippets = new Map(
      [...inLanguage('ts'), ...programsIn('js')].map(({ where, code }) => [
        // Nobody writes these files; standing in the package, they may import it by its name.
        join(root, 'docs', `${where.replaceAll(/\W+/g, '-')}.ts`),
        { where, code: /^(import|export) /m.test(code) ? code : `${code}export {}\n` },
      ]),
    )
    expect(snippets.size).toBeGreaterThan(1)
    expect(problemsOf(snippets)).toEqual([])
  })

  it('that needs packages of others is part of a program that is run with them', () => {
    const folder = join(root, 'examples/seams')
    const programs = readdirSync(folder)
      .filter((name) => name.endsWith('.ts'))
      .map((name) => readFileSync(join(folder, name), 'utf8'))
    const strays = inLanguage('typescript').filter(({ code }) => !programs.some((program) => program.includes(code)))
    expect(strays.map(({ where }) => where)).toEqual([])
  })

  it('is checked at all', () => {
    const path = join(root, 'docs', 'wrong.ts')
    const code = "import { openStore } from 'authkeep'\nexport const store: string = await openStore()\n"
    expect(problemsOf(new Map([[path, { where: 'wrong', code }]]))).toEqual([expect.stringContaining('wrong:2')])
  })

  it('of the README is examples/quickstart.ts', () => {
    expect(inLanguage('ts').filter(({ where }) => where.startsWith('README.md'))[0]?.code).toBe(
      text('examples/quickstart.ts'),
    )
  })
})

function problemsOf(files: ReadonlyMap<string, { where: string; code: string }>): readonly string[] {
  const { config } = ts.readConfigFile(join(root, 'tsconfig.base.json'), (path) => ts.sys.readFile(path)) as {
    config: object
  }
  const { options } = ts.parseJsonConfigFileContent({ ...config, files: [] }, ts.sys, root)
  // The recipes that they import are spelled as they are.
  options.allowImportingTsExtensions = true
  const host = ts.createCompilerHost({ ...options, noEmit: true })
  const [fileExists, readFile] = [host.fileExists.bind(host), host.readFile.bind(host)]
  const getSourceFile = host.getSourceFile.bind(host)
  host.getCurrentDirectory = () => root
  host.fileExists = (path) => files.has(path) || fileExists(path)
  host.readFile = (path) => files.get(path)?.code ?? readFile(path)
  host.getSourceFile = (path, language, ...rest) => {
    const code = files.get(path)?.code
    return code === undefined
      ? getSourceFile(path, language, ...rest)
      : ts.createSourceFile(path, code, language, true, ts.ScriptKind.TS)
  }
  const program = ts.createProgram([...files.keys()], { ...options, noEmit: true }, host)
  return ts.getPreEmitDiagnostics(program).map(({ file, start = 0, messageText }) => {
    const where = file === undefined ? 'the program' : (files.get(file.fileName)?.where ?? file.fileName)
    const line = file === undefined ? 0 : file.getLineAndCharacterOfPosition(start).line + 1
    return `${where}:${line} ${ts.flattenDiagnosticMessageText(messageText, ' ')}`
  })
}

describe('the JSON in the documents', () => {
  const parsed = inLanguage('json').map(({ where, code }) => ({ where, value: JSON.parse(code) as JsonObject }))
  const providers = parsed.filter(({ value }) => 'issuer' in value)
  const stores = parsed.filter(({ value }) => 'credentials' in value)

  it('is a provider or a credential file', () => {
    expect(providers.length).toBeGreaterThan(0)
    expect(stores.length).toBeGreaterThan(0)
    expect(parsed.length).toBe(providers.length + stores.length)
  })

  it.each(providers)('$where is a valid provider', async ({ where, value }) => {
    await expect(api.parseProvider(value, where)).resolves.toMatchObject({ id: value['id'] })
  })

  it.each(stores)('$where is a store of which every entry can be read', ({ value }) => {
    const document = nativeFormat.parse(JSON.stringify(value))
    for (const key of nativeFormat.keys(document)) {
      const entry = nativeFormat.entry(document, key)
      expect(decodeEntry(entry?.value ?? {}, parseKeyName(key))).toMatchObject(parseKeyName(key))
    }
  })

  it('of a store shows every member that is read', () => {
    const shown = membersOf(stores.map(({ value }) => value))
    const read = [...text('src/store/entry.ts').matchAll(/\bread\.\w+\('(\w+)'/g)].map(([, name = '']) => name)
    expect(read.length).toBeGreaterThan(20)
    expect([...read, 'nonce', 'rev', 'state'].filter((name) => !shown.has(name))).toEqual([])
  })

  it('of the provider page names every member that the schema knows', () => {
    const shown = membersOf(providers.map(({ value }) => value))
    const source = text('src/provider.ts') + text('src/endpoint.ts').replace(/^.*?(?=export interface Endpoint)/s, '')
    const declared = ['ProviderClient', 'DeviceLogin', 'KeyLogin', 'Provider', 'Endpoint'].flatMap((name) =>
      interfaceMembers(source, name),
    )
    expect(declared.length).toBeGreaterThan(15)
    expect(declared.filter((name) => !shown.has(name))).toEqual([])
  })
})

function membersOf(value: Json): ReadonlySet<string> {
  const names = new Set<string>()
  const walk = (at: Json): void => {
    if (typeof at !== 'object' || at === null) return
    if (!Array.isArray(at)) for (const name of Object.keys(at)) names.add(name)
    for (const member of Object.values(at) as Json[]) walk(member)
  }
  walk(value)
  return names
}

/** The names of the members of an interface, those of the object types in it too. */
function interfaceMembers(source: string, name: string): readonly string[] {
  const names: string[] = []
  const collect = (node: ts.Node): void => {
    if (ts.isPropertySignature(node) && ts.isIdentifier(node.name)) names.push(node.name.text)
    ts.forEachChild(node, collect)
  }
  ts.createSourceFile('x.ts', source, ts.ScriptTarget.ESNext, true).forEachChild((node) => {
    if (ts.isInterfaceDeclaration(node) && node.name.text === name) collect(node)
  })
  return names
}

describe('the command lines in the documents', () => {
  // What follows a slash, `-v` or `volume create` is a path or a volume of that name;
  // what follows an entrypoint is the image.
  const call = /(?<!\/|-v |volume create )\bauthkeep (?:(?<=--entrypoint authkeep )worker )?([^)<>|&#\n]*)/g
  const lines = inLanguage('sh').flatMap(({ where, code }) =>
    [...code.matchAll(call)].map(([, words = '']) => ({ where, words: words.trim() })),
  )

  it('are found', () => expect(lines.length).toBeGreaterThan(5))

  it.each(lines)('$where: authkeep $words', async ({ words }) => {
    await expect(readArguments(words.split(' '))).resolves.toHaveProperty('command.name')
  })

  it.each(inLanguage('sh').filter(({ code }) => /\bnpm run\b/.test(code)))('$where: runs a script', ({ code }) => {
    const { scripts } = JSON.parse(text('package.json')) as { scripts: object }
    for (const [, name = ''] of code.matchAll(/npm run (\S+)/g)) expect(scripts).toHaveProperty([name])
  })
})

describe('links', () => {
  const links = documents.flatMap((path) =>
    [...withoutCode(text(path)).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => ({ path, target })),
  )

  it('are found', () => expect(links.length).toBeGreaterThan(10))

  it.each(links.filter(({ target }) => !/^https?:/.test(target)))('$path → $target', ({ path, target }) => {
    const [file = '', anchor] = target.split('#')
    const found = file === '' ? path : join(dirname(path), file)
    expect(existsSync(join(root, found))).toBe(true)
    if (anchor !== undefined) expect(anchorsOf(text(found))).toContain(anchor)
  })
})

function withoutCode(markdown: string): string {
  return markdown.replaceAll(/^```[\s\S]*?^```$/gm, '').replaceAll(/`[^`\n]*`/g, '')
}

/** The anchors that GitHub gives to headings. */
function anchorsOf(markdown: string): readonly string[] {
  const headings = markdown.replaceAll(/^```[\s\S]*?^```$/gm, '').matchAll(/^#+ (.+)$/gm)
  return [...headings].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(' ', '-'),
  )
}

describe('docs/errors.md', () => {
  const source = text('src/errors.ts')
  const sections = new Map(
    text('docs/errors.md')
      .split(/^### /m)
      .slice(1)
      .map((section) => [/^`(\w+)`/.exec(section)?.[1] ?? '', section]),
  )
  const codes = [...detailsOf(source)].map(([code, members]) => ({ code, members }))

  it('has the table that the source makes', async () => {
    await promisify(execFile)(process.execPath, [join(root, 'scripts/errors-page.mjs'), '--check'])
  })

  it('has a section for every code, and for nothing else', () => {
    expect(codes.length).toBeGreaterThan(15)
    expect([...sections.keys()].sort()).toEqual(codes.map(({ code }) => code).sort())
  })

  it.each(codes)('$code: names every member of its detail, and its remedy', ({ code, members }) => {
    const section = sections.get(code) ?? ''
    expect(members.filter((name) => !section.includes(`\`${name}\``))).toEqual([])
    const remedy = new RegExp(`^ {2}${code}: '(\\w+)'`, 'm').exec(source)?.[1]
    expect(section).toContain(`Remedy \`${remedy ?? '?'}\`.`)
  })
})

describe('docs/benchmarks.md', () => {
  it('has the results that were recorded', async () => {
    await promisify(execFile)(process.execPath, [join(root, 'bench/page.mjs'), '--check'])
  })
})

describe('docs/diagnosis.md', () => {
  const page = text('docs/diagnosis.md')
  const source = text('src/broker/verdict.ts')
  const sections = new Map(
    page
      .split(/^### /m)
      .slice(1)
      .map((section) => [/^`(\w+)`/.exec(section)?.[1] ?? '', section]),
  )
  const union = /type VerdictCode =\n((?: {2}\| '\w+'\n)+)/.exec(source)?.[1] ?? ''
  const codes = [...union.matchAll(/'(\w+)'/g)].map(([, code]) => code as api.VerdictCode)

  it('has a section for every verdict, and for nothing else', () => {
    expect(codes.length).toBeGreaterThan(20)
    expect([...sections.keys()].sort()).toEqual([...codes].sort())
  })

  it.each(codes)('%s: says whom it blames and whether it may be retried', (code) => {
    const findings = [{}, { status: 407 }, { status: 501 }, { status: 502 }]
    const verdicts = findings.map((finding) => conclude({ code, host: null, ...finding }))
    const retry = new Set(verdicts.map(({ mayRetry }) => mayRetry))
    const said = retry.size === 2 ? 'sometimes \\(.+\\)' : retry.has(true) ? 'yes' : 'no'
    const blames = verdicts[0]?.blamesCredential === true ? 'yes' : 'no'
    expect(sections.get(code)).toMatch(
      new RegExp(`^Blames the credential: ${blames}\\. May be retried: ${said}\\.$`, 'm'),
    )
  })

  it('names every member of a verdict and of the context', () => {
    const members = [
      ...['Finding', 'Verdict'].flatMap((name) => interfaceMembers(source, name)),
      ...interfaceMembers(text('src/broker/diagnose.ts'), 'DiagnosisContext'),
    ]
    expect(members.length).toBeGreaterThan(15)
    expect(members.filter((name) => !new RegExp(`\`${name}\\b`).test(page))).toEqual([])
  })
})

/** The members of the detail of each code. */
function detailsOf(source: string): ReadonlyMap<string, readonly string[]> {
  const details = new Map<string, readonly string[]>()
  ts.createSourceFile('errors.ts', source, ts.ScriptTarget.ESNext, true).forEachChild((node) => {
    if (!ts.isInterfaceDeclaration(node) || node.name.text !== 'ErrorDetails') return
    for (const member of node.members) {
      if (!ts.isPropertySignature(member) || member.type === undefined || !ts.isTypeLiteralNode(member.type)) continue
      details.set(
        member.name.getText(),
        member.type.members.map((each) => each.name?.getText() ?? ''),
      )
    }
  })
  return details
}

describe('the tests that the documents name', () => {
  const proofs = documents.flatMap((path) =>
    text(path)
      .split('\n')
      .flatMap((line) => {
        const cells = [...line.matchAll(/(?<=\|)[^|]*(?=\|)/g)].map(([cell]) => cell)
        return cells.flatMap((cell) =>
          [...cell.matchAll(/`(test\/[\w/.-]+)`([^`]*)/g)].flatMap(([, file = '', rest = '']) => {
            const names = [...rest.matchAll(/"([^"]+)"/g)].map(([, name = '']) => name)
            return (names.length === 0 ? [''] : names).map((name) => ({ path, file, name }))
          }),
        )
      }),
  )

  it('are found', () => expect(proofs.length).toBeGreaterThan(20))

  it.each(proofs)('$path: $file: $name', ({ file, name }) => expect(text(file)).toContain(name))
})

describe('docs/api.md', () => {
  it('names everything that the package exports and the methods of its classes', () => {
    const named = new Set(text('docs/api.md').match(/\w+/g))
    const methods = [api.CredentialStore, TokenBroker].flatMap(({ prototype }) => Object.getOwnPropertyNames(prototype))
    const names = [...Object.keys(api), ...methods.filter((name) => name !== 'constructor')]
    expect(names.filter((name) => !named.has(name))).toEqual([])
  })
})

describe('the changelog', () => {
  it('lists what throws not_supported, and nothing that does not', () => {
    const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((path) =>
      path.endsWith('.ts'),
    )
    const thrown = sources.flatMap((path) =>
      [...text(`src/${path}`).matchAll(/'not_supported', \{ feature: '([^']+)'/g)].map(([, feature = '']) => feature),
    )
    const [, list = ''] = /^Throws `not_supported`:\n\n((?:- .*\n)+)/m.exec(text('CHANGELOG.md')) ?? []
    // The types of tokens that cannot be sent are not a sentence in the source.
    const listed = [...list.matchAll(/^- .*: ([^`\n]+)$/gm)].map(([, feature = '']) => feature)
    expect(list).not.toBe('')
    expect(listed.sort()).toEqual(thrown.sort())
  })
})

describe('the README', () => {
  it('links every page of docs/', () => {
    const linked = new Set([...text('README.md').matchAll(/\]\((docs\/[\w-]+\.md)\)/g)].map(([, path = '']) => path))
    expect(documents.filter((path) => path.startsWith('docs/') && !linked.has(path))).toEqual([])
  })
})

describe('examples/embedded.ts', () => {
  it('runs from end to end', async () => {
    const script = join(root, 'build/examples/embedded.js')
    expect(existsSync(script), 'build first: this runs the built example').toBe(true)
    const env = { PATH: process.env['PATH'] ?? '' }
    const { stdout } = await promisify(execFile)(process.execPath, [script], { env, timeout: 20_000 })
    expect(stdout.trimEnd().split('\n')).toEqual([
      'The login was granted files:read mail:read offline_access openid.',
      'GET /files with a token for files:read: 200',
      'GET /mail with a token for mail:read: 200',
      'POST /mail/send was not tried: the login lacks mail:send.',
    ])
  })
})
