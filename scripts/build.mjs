// Builds the library into dist/ and the examples, which import it by its public name, into build/.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, rmSync } from 'node:fs'

const tsc = ['node_modules/typescript/bin/tsc', '-p']
rmSync('dist', { recursive: true, force: true })
rmSync('build', { recursive: true, force: true })
for (const project of ['tsconfig.build.json', 'tsconfig.examples.json']) {
  const { status } = spawnSync(process.execPath, [...tsc, project], { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}
if (existsSync('dist/cli/main.js')) chmodSync('dist/cli/main.js', 0o755)
