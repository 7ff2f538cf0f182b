// Builds the site into build/site: what people have written, as it stands in the repository, and the API reference, out
// of the docstrings. Any warning ends it: a public symbol without a docstring, a type that is not exported, a dead link.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, extname, join, posix } from 'node:path'
import { Application } from 'typedoc'
import { build } from 'vitepress'
import { root, unlisted, written } from './pages.mjs'

const site = import.meta.dirname
const pages = join(site, 'build/pages')

/** One module for every entry point of package.json, under the name by which it is imported. */
async function reference() {
  const { exports, name } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const names = new Map(
    Object.entries(exports).flatMap(([subpath, { types }]) =>
      types === undefined ? [] : [[types.replace(/^\.\/dist\/(.*)\.d\.ts$/, 'src/$1.ts'), posix.join(name, subpath)]],
    ),
  )
  const app = await Application.bootstrapWithPlugins({
    name: 'API reference',
    entryPoints: [...names.keys()].map((path) => join(root, path)),
    tsconfig: join(root, 'tsconfig.build.json'),
    basePath: join(root, 'src'),
    plugin: ['typedoc-plugin-markdown'],
    outputs: [{ name: 'markdown', path: join(pages, 'api') }],
    readme: 'none',
    entryFileName: 'index',
    disableSources: true,
    excludeInternal: true,
    excludePrivate: true,
    hidePageHeader: true,
    hideBreadcrumbs: true,
    useCodeBlocks: true,
    treatWarningsAsErrors: true,
    validation: { notExported: true, invalidLink: true, notDocumented: true },
    requiredToBeDocumented: ['Class', 'Interface', 'TypeAlias', 'Function', 'Variable', 'Method', 'Accessor'],
  })
  const project = await app.convert()
  if (project === undefined) throw new Error('the source does not compile')
  for (const module of project.children) {
    module.name = names.get(`src/${module.name}.ts`) ?? module.name
  }
  app.validate(project)
  await app.generateOutputs(project)
  if (app.logger.hasErrors() || app.logger.hasWarnings()) throw new Error('the API reference has warnings')
}

/** A file or folder of the repository that a page links to, as a page of its own. */
function shown(path) {
  const from = join(root, path)
  const isFolder = statSync(from).isDirectory()
  const content = isFolder
    ? readdirSync(from)
        .filter((name) => name !== 'node_modules')
        .join('\n')
    : readFileSync(from, 'utf8').trimEnd()
  const language = isFolder ? '' : extname(path).slice(1).replace('mjs', 'js')
  return `---\nsearch: false\n---\n\n# ${path}\n\n\`\`\`\`${language}\n${content}\n\`\`\`\`\n`
}

/** Links to what is no page lead to a page that shows it. */
function withPages(markdown, at, files) {
  return markdown.replaceAll(/\]\((?!https?:|#)([^)#\s]+)(?=[)#])/g, (link, target) => {
    const path = posix.join(posix.dirname(at), target)
    if (path.endsWith('.md') || !existsSync(join(root, path))) return link
    files.add(path)
    return `](${target}.md`
  })
}

function put(path, text) {
  mkdirSync(dirname(join(pages, path)), { recursive: true })
  writeFileSync(join(pages, path), text)
}

const strays = unlisted()
if (strays.length > 0) throw new Error(`in no section of the README's list of pages: ${strays.join(', ')}`)
rmSync(join(site, 'build'), { recursive: true, force: true })
await reference()
const files = new Set()
for (const path of written()) put(path, withPages(readFileSync(join(root, path), 'utf8'), path, files))
for (const path of files) put(`${path}.md`, shown(path))
mkdirSync(join(pages, '.vitepress'))
copyFileSync(join(site, 'config.mjs'), join(pages, '.vitepress/config.mjs'))
await build(pages)
