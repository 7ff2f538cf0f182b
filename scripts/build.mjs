// Builds the library into dist/ and the examples, which import it by its public name, into build/.
import { spawnSync } from 'node:child_process'
import { chmodSync, readFileSync, rmSync } from 'node:fs'

const tsc = ['node_modules/typescript/bin/tsc', '-p']
rmSync('dist', { recursive: true, force: true })
rmSync('build', { recursive: true, force: true })
for (const project of ['tsconfig.build.json', 'tsconfig.examples.json']) {
  const { status } = spawnSync(process.execPath, [...tsc, project], { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}
const { bin } = JSON.parse(readFileSync('package.json', 'utf8'))
for (const path of Object.values(bin)) chmodSync(path, 0o755)
