// npm run release -- --dry-run            says what a release of package.json's version would do, and changes nothing
// npm run release -- <version>            puts the date into CHANGELOG.md and the version into package.json and its lock
// npm run release -- <version> --publish  in CI, from that commit: publishes, with provenance
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { dated, headingOf } from './changelog.mjs'

const publication = ['publish', '--provenance', '--access', 'public']
const read = (path) => readFileSync(path, 'utf8')
const git = (...args) => execFileSync('git', args, { encoding: 'utf8' }).trim()

/** Provenance is signed with a token of the CI's OpenID provider: GitHub's, or GitLab's for Sigstore. */
const hasOidc = ({ CI, ACTIONS_ID_TOKEN_REQUEST_URL, SIGSTORE_ID_TOKEN }) =>
  Boolean(CI) && Boolean(ACTIONS_ID_TOKEN_REQUEST_URL ?? SIGSTORE_ID_TOKEN)

function* reasonsAgainst({ version, manifest, changelog, publish }) {
  if (!/^\d+\.\d+\.\d+(-[\w.-]+)?$/.test(version)) yield `"${version}" is not a version`
  if (git('status', '--porcelain') !== '') yield 'the tree has changes that are not committed'
  const branch = git('branch', '--show-current')
  if (branch !== 'main') yield `the branch is ${branch === '' ? 'none' : branch}, not main`
  const found = headingOf(changelog, version)
  if (found === undefined) yield `CHANGELOG.md has no heading "## [${version}] - Unreleased"`
  else if (!publish && found.released !== 'Unreleased') yield `${version} was released ${found.released}`
  if (!publish) return
  if (found?.released === 'Unreleased' || manifest.version !== version)
    yield `${version} is not prepared: npm run release -- ${version}, and commit that`
  if (manifest.repository === undefined) yield 'package.json has no repository, which provenance is checked against'
  if (!hasOidc(process.env)) yield 'this is not CI with a token of OpenID Connect, which provenance is signed with'
}

function prepare(version, manifest, changelog, write) {
  const date = new Date().toISOString().slice(0, 10)
  const lock = JSON.parse(read('package-lock.json'))
  lock.version = version
  lock.packages[''].version = version
  // Text, for the sake of its formatting.
  const text = read('package.json').replace(`"version": "${manifest.version}"`, `"version": "${version}"`)
  write('CHANGELOG.md', dated(changelog, version, date), `${version} is dated ${date}`)
  write('package.json', text, `version ${version}`)
  write('package-lock.json', `${JSON.stringify(lock, null, 2)}\n`, `version ${version}`)
}

const { values, positionals } = parseArgs({
  options: { 'dry-run': { type: 'boolean', default: false }, publish: { type: 'boolean', default: false } },
  allowPositionals: true,
})
const { 'dry-run': isDry, publish } = values
const manifest = JSON.parse(read('package.json'))
const changelog = read('CHANGELOG.md')
const [version = isDry ? manifest.version : undefined] = positionals
if (version === undefined || positionals.length > 1) {
  console.error('npm run release -- [--dry-run] <version> [--publish]')
  process.exit(1)
}
const reasons = [...reasonsAgainst({ version, manifest, changelog, publish })]
for (const reason of reasons) console.error(`${isDry ? 'would be refused' : 'refused'}: ${reason}`)
const isDone = !isDry && reasons.length === 0
if (reasons.length > 0) process.exitCode = 1

if (publish) {
  console.log(`${isDone ? 'runs' : 'would run'}: npm ${publication.join(' ')}`)
  if (isDone) execFileSync('npm', publication, { stdio: 'inherit' })
} else if (reasons.length === 0) {
  prepare(version, manifest, changelog, (path, text, what) => {
    console.log(`${isDone ? 'written' : 'would write'}: ${path}: ${what}`)
    if (isDone) writeFileSync(path, text)
  })
  console.log(`then: git commit -am ${version} && git tag v${version}`)
  console.log(`then, in CI: npm run release -- ${version} --publish, which runs npm ${publication.join(' ')}`)
}
