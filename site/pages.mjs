// Which pages there are, and in what order: what the README lists under "The pages, in a reader's order". A page that is
// added there stands in the sidebar; one that stands nowhere ends the build.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))

const titleOf = (path) => /^# (.+)$/m.exec(readFileSync(join(root, path), 'utf8'))[1].replaceAll('`', '')

/** Headings, each with its pages: what the README lists under a line that ends with a colon. */
export function sections() {
  const list = readFileSync(join(root, 'README.md'), 'utf8').split(/^## The pages.*$/m)[1]
  const found = list.split(/^(?=\w.*:$)/m).slice(1)
  return found.map((section) => ({
    text: /^(.*):$/m.exec(section)[1],
    items: [...section.matchAll(/\]\(([\w/-]+\.md)\)/g)].map(([, path]) => ({ text: titleOf(path), path })),
  }))
}

/** Every page that people write, by its path in the repository. */
export function written() {
  const at = (folder) => readdirSync(join(root, folder)).filter((name) => name.endsWith('.md'))
  return [...at('.'), ...at('docs').map((name) => `docs/${name}`)]
}

/** Pages that stand in no section. The README itself is the front page. */
export function unlisted() {
  const listed = new Set(sections().flatMap(({ items }) => items.map(({ path }) => path)))
  return written().filter((path) => path !== 'README.md' && !listed.has(path))
}
