// Builds the library into dist/ and the examples, which import it by its public name, into build/.
import { spawnSync } from 'node:child_process'
import { chmodSync, readFileSync, rmSync } from 'node:fs'
import { bundle } from './bundle.mjs'

const tsc = ['node_modules/typescript/bin/tsc', '-p']
function compile(project) {
  const { status } = spawnSync(process.execPath, [...tsc, project], { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}

const { bin, exports } = JSON.parse(readFileSync('package.json', 'utf8'))
rmSync('dist', { recursive: true, force: true })
rmSync('build', { recursive: true, force: true })
compile('tsconfig.build.json')
const addressed = Object.values(exports).map((each) => each.default ?? each)
await bundle([...addressed, ...Object.values(bin)].filter((path) => path.endsWith('.js')))
for (const path of Object.values(bin)) chmodSync(path, 0o755)
compile('tsconfig.examples.json')
