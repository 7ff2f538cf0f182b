// Joins what every start loads into one file: finding, reading and linking a module costs Node more than running it.
import { relative, resolve, sep } from 'node:path'
import { rolldown } from 'rolldown'

const src = resolve('src')
const nameOf = (id) => relative(src, id).split(sep).join('/').replace(/\.ts$/, '')

/**
 * Writes the JavaScript of src/ to dist/. What `index.ts` loads is in `authkeep.js`, and what a command line with a living
 * token loads besides is in `cli/authkeep.js`. Everything else is loaded when it is needed, and is a file of its own under
 * the name that it has in src/.
 *
 * @param {readonly string[]} addressed the files of dist/ that others know by their paths
 */
export async function bundle(addressed) {
  const entries = addressed.map((path) => path.replace(/^\.\/dist\/(.*)\.js$/, '$1'))
  const built = await rolldown({
    input: Object.fromEntries(entries.map((name) => [name, resolve(src, `${name}.ts`)])),
    platform: 'node',
    external: /^[^./]/,
    transform: { target: 'node20.19' },
    preserveEntrySignatures: 'allow-extension',
    // A module that is loaded in one place when it is needed, and in another at once, is what we want.
    checks: { ineffectiveDynamicImport: false },
  })
  let joined
  await built.write({
    dir: 'dist',
    format: 'esm',
    // The sources are in the package, beside dist/.
    sourcemap: true,
    sourcemapExcludeSources: true,
    comments: false,
    minifyInternalExports: false,
    entryFileNames: '[name].js',
    chunkFileNames: chunkName,
    codeSplitting: {
      includeDependenciesRecursively: false,
      groups: [
        {
          debugName: 'files',
          name(id, graph) {
            joined ??= joinedFiles(graph, entries)
            return joined.get(id) ?? (isAlone(graph.getModuleInfo(id)) ? null : nameOf(id))
          },
        },
      ],
    },
  })
  await built.close()
}

/** Which joined file a module is in, for those that every start loads. */
function joinedFiles(graph, entries) {
  const joined = new Map()
  const reach = (id, file) => {
    if (joined.has(id) || !id.startsWith(src)) return
    joined.set(id, file)
    for (const next of graph.getModuleInfo(id).importedIds) reach(next, file)
  }
  reach(resolve(src, 'index.ts'), 'authkeep')
  for (const name of ['main', 'token']) reach(resolve(src, `cli/${name}.ts`), 'cli/authkeep')
  for (const name of [...entries, 'cli/token']) joined.delete(resolve(src, `${name}.ts`))
  return joined
}

/** Whether a module becomes a file by itself: it is addressed from outside, or loaded only when it is needed. */
const isAlone = ({ isEntry, importers, dynamicImporters }) =>
  isEntry || (dynamicImporters.length > 0 && importers.length === 0)

/** A file that only leads to another one, because a part of that is loaded when it is needed, has no modules. */
function chunkName({ name, facadeModuleId, moduleIds }) {
  if (facadeModuleId == null) return `${name}.js`
  return moduleIds.length === 0 ? `${nameOf(facadeModuleId)}.lazy.js` : `${nameOf(facadeModuleId)}.js`
}
