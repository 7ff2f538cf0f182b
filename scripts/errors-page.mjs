// Writes the table of docs/errors.md from the source: every code with its remedy, the exit code, and its detail.
// With --check it writes nothing, and ends with 1 if the table is not the one of the source.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const path = fileURLToPath(new URL('../docs/errors.md', import.meta.url))
const parse = (file) =>
  ts.createSourceFile(file, readFileSync(new URL(`../src/${file}`, import.meta.url), 'utf8'), ts.ScriptTarget.ESNext)

/** The members of an object literal that is assigned to a constant. */
function constant(source, name) {
  const declared = source.statements
    .filter(ts.isVariableStatement)
    .flatMap(({ declarationList }) => declarationList.declarations)
    .find((each) => each.name.getText(source) === name)
  return new Map(
    declared.initializer.properties.map((each) => [
      each.name.getText(source),
      each.initializer.text ?? each.initializer.getText(source),
    ]),
  )
}

function rows() {
  const source = parse('errors.ts')
  const remedies = constant(source, 'remedies')
  const exitCodes = constant(parse('cli/advice.ts'), 'exitCodes')
  const details = source.statements.find((each) => ts.isInterfaceDeclaration(each) && each.name.text === 'ErrorDetails')
  return details.members.map((member) => {
    const code = member.name.getText(source)
    const remedy = remedies.get(code)
    const detail = member.type.members.map((each) => `\`${typed(each, source)}\``).join('<br>')
    return `| [\`${code}\`](#${code}) | \`${remedy}\` | ${exitCodes.get(remedy)} | ${detail} |`
  })
}

/** `name?: type`, as the source spells it, on one line and fit for a cell of a table. */
function typed(member, source) {
  const type = member.type.getText(source).replaceAll(/\s+/g, ' ').replace(/^\| /, '').replaceAll('|', '\\|')
  return `${member.name.getText(source)}${member.questionToken === undefined ? '' : '?'}: ${type}`
}

const page = readFileSync(path, 'utf8')
const table = ['| code | remedy | exit code | detail |', '|---|---|---|---|', ...rows()].join('\n')
const [begin] = /^<!-- begin: .* -->$/m.exec(page)
const end = '<!-- end -->'
const fresh = `${page.slice(0, page.indexOf(begin))}${begin}\n\n${table}\n\n${page.slice(page.indexOf(end))}`
if (!process.argv.includes('--check')) writeFileSync(path, fresh)
else if (fresh !== page) {
  console.error('docs/errors.md is not what the source says: node scripts/errors-page.mjs')
  process.exitCode = 1
}
