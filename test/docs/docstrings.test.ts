import { readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'

const root = join(dirname(fileURLToPath(import.meta.url)), '../..')

/** What others bring along, and we only call: what it rejects with is theirs to say. */
const foreign = ['SqlClient', 'ListeningClient', 'RedisClient', 'RedisSubscriber', 'ContractHarness', 'SpoilingHarness']

/** Where the protocol is spoken, and what it is spoken by. */
const spoken: Readonly<Record<string, RegExp>> = {
  loopbackFlow: /RFC 8252/,
  deviceFlow: /RFC 8628/,
  clientCredentialsFlow: /RFC 6749 §4\.4/,
  registerClient: /RFC 7591/,
  clientMetadataDocument: /draft-ietf-oauth-client-id-metadata-document/,
  discoverIssuer: /RFC 8414/,
  discoverProvider: /RFC 9728|RFC 8414/,
  discoverResource: /RFC 9728/,
  readChallenges: /RFC 9110/,
  DpopKey: /RFC 9449/,
  'TokenBroker.fetch': /RFC 6750/,
  'TokenBroker.revoke': /RFC 7009/,
  'AccessToken.headers': /RFC 6750|RFC 9449/,
}

interface Documented {
  readonly name: string
  readonly where: string
  /** Its docstring with its tags, and that of what it is a member of. */
  readonly said: string
  readonly ofOwner: string
  readonly isPromised: boolean
  readonly isInternal: boolean
}

const documented = publicFunctions()

describe('the docstrings of what is public', () => {
  it('are read at all', () => {
    expect(documented.length).toBeGreaterThan(100)
    expect(documented.find(({ name }) => name === 'TokenBroker.getToken')?.said).toContain('`scope_missing`')
  })

  it('say what a promise is rejected with, or that it is not', () => {
    const silent = documented.filter(
      ({ isPromised, isInternal, said, ofOwner }) =>
        isPromised && !isInternal && !/reject|throws|never fails/i.test(`${said} ${ofOwner}`),
    )
    const ours = silent.filter(({ name }) => !foreign.includes(name.split('.', 1)[0] ?? ''))
    expect(ours.map(({ name, where }) => `${name} in ${where}`)).toEqual([])
  })

  it('name codes that there are', () => {
    const codes = new Set(
      [...readFileSync(join(root, 'src/errors.ts'), 'utf8').matchAll(/^ {2}(\w+): \{/gm)].map(([, code]) => code),
    )
    expect(codes.size).toBeGreaterThan(15)
    const strays = documented.flatMap(({ name, said }) =>
      [...said.matchAll(/@throws AuthkeepError ([^.;(]*)/g)]
        .flatMap(([, list = '']) => [...list.matchAll(/`(\w+_\w+)`/g)].map(([, code]) => code))
        .filter((code) => !codes.has(code))
        .map((code) => `${name}: ${code}`),
    )
    expect(strays).toEqual([])
  })

  it.each(Object.entries(spoken))('%s cites the specification that it follows', (name, specification) => {
    expect(documented.find((one) => one.name === name)?.said).toMatch(specification)
  })
})

/** Every exported function, method and type of every entry point of package.json. */
function publicFunctions(): readonly Documented[] {
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    exports: Record<string, { types?: string }>
  }
  const entries = Object.values(exports).flatMap(({ types }) =>
    types === undefined ? [] : [join(root, types.replace(/^\.\/dist\/(.*)\.d\.ts$/, 'src/$1.ts'))],
  )
  const { config } = ts.readConfigFile(join(root, 'tsconfig.base.json'), (path) => ts.sys.readFile(path)) as {
    config: object
  }
  const { options } = ts.parseJsonConfigFileContent({ ...config, files: entries }, ts.sys, root)
  const program = ts.createProgram(entries, { ...options, allowImportingTsExtensions: true, noEmit: true })
  const checker = program.getTypeChecker()
  const docs = (symbol: ts.Symbol): string =>
    [
      ts.displayPartsToString(symbol.getDocumentationComment(checker)),
      ...symbol.getJsDocTags(checker).map(({ name, text }) => `@${name} ${ts.displayPartsToString(text)}`),
    ].join('\n')
  const isPromised = (symbol: ts.Symbol): boolean => {
    const [declaration] = symbol.declarations ?? []
    if (declaration === undefined) return false
    const [signature] = checker.getTypeOfSymbolAtLocation(symbol, declaration).getCallSignatures()
    return signature !== undefined && checker.typeToString(signature.getReturnType()).startsWith('Promise<')
  }
  const symbols = entries.flatMap((entry) => {
    const source = program.getSourceFile(entry)
    const module = source === undefined ? undefined : checker.getSymbolAtLocation(source)
    return module === undefined ? [] : checker.getExportsOfModule(module)
  })
  const originals = new Set(
    symbols.map((symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol)),
  )
  return [...originals].flatMap((symbol) => {
    const [declaration] = symbol.declarations ?? []
    if (declaration === undefined) return []
    const where = relative(root, declaration.getSourceFile().fileName)
    const describe = (name: string, one: ts.Symbol, ofOwner: string): Documented => {
      const said = docs(one)
      return { name, where, said, ofOwner, isPromised: isPromised(one), isInternal: said.includes('@internal') }
    }
    const own = describe(symbol.name, symbol, '')
    if (!ts.isClassDeclaration(declaration) && !ts.isInterfaceDeclaration(declaration)) return [own]
    const methods = declaration.members.filter(
      (member) =>
        (ts.isMethodDeclaration(member) || ts.isMethodSignature(member)) && !ts.isPrivateIdentifier(member.name),
    )
    return [
      own,
      ...methods.flatMap(({ name }) => {
        const method = name === undefined ? undefined : checker.getSymbolAtLocation(name)
        return method === undefined ? [] : [describe(`${symbol.name}.${method.name}`, method, own.said)]
      }),
    ]
  })
}
