import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { defineConfig } from 'vitepress'
import { sections } from '../../../pages.mjs'

const pages = join(import.meta.dirname, '..')
const subpaths = readdirSync(join(pages, 'api/authkeep'), { encoding: 'utf8' }).filter((name) =>
  existsSync(join(pages, 'api/authkeep', name, 'index.md')),
)
const link = (path) => `/${path.replace(/\.md$/, '')}`

/** As GitHub makes them, where the same pages are read, too. */
const anchorOf = (heading) =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replaceAll(' ', '-')

export default defineConfig({
  title: 'authkeep',
  description:
    'Keeps OAuth credentials safe, and hands every caller the right token for the endpoint it is about to call',
  lang: 'en',
  // Without one a browser asks for /favicon.ico, which is not there.
  head: [['link', { rel: 'icon', href: 'data:,' }]],
  outDir: '../site',
  cacheDir: '../cache',
  rewrites: { 'README.md': 'index.md' },
  // Dead links end the build; those to example servers are none of ours.
  ignoreDeadLinks: false,
  markdown: { html: false, anchor: { slugify: anchorOf } },
  // The index of the search is one file.
  vite: { build: { chunkSizeWarningLimit: 2000 } },
  themeConfig: {
    search: {
      provider: 'local',
      options: {
        miniSearch: {
          // What explains a word goes before where it is a name.
          searchOptions: { boostDocument: (id) => (id.startsWith('/api/') ? 0.3 : 1) },
        },
      },
    },
    outline: [2, 3],
    nav: [
      { text: 'Quick start', link: '/docs/quick-start' },
      { text: 'API', link: '/api/' },
      { text: 'Changes', link: '/CHANGELOG' },
    ],
    sidebar: [
      { text: 'authkeep', link: '/' },
      ...sections().map(({ text, items }) => ({
        text,
        items: items.map(({ text, path }) => ({ text, link: link(path) })),
      })),
      {
        text: 'API reference',
        items: ['authkeep', ...subpaths.map((name) => `authkeep/${name}`)].map((name) => ({
          text: name,
          link: `/api/${name}/`,
        })),
      },
    ],
  },
})
