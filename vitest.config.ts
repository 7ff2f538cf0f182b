import { defineConfig } from 'vitest/config'
import { mutate } from './test/simulation/mutants.ts'

/** What takes too long for every run, or needs more than npm installs. */
const modes: Readonly<Record<string, string>> = {
  storms: 'test/**/*.storms.ts',
  browser: 'test/**/*.browser.ts',
  terminal: 'test/**/*.terminal.ts',
  container: 'test/**/*.container.ts',
  fleet: 'test/**/*.fleet.ts',
  keychain: 'test/**/*.keychain.ts',
  seams: 'test/**/*.seams.ts',
  openclaw: 'test/**/*.openclaw.ts',
}

export default defineConfig(({ mode }) => ({
  plugins: [mutate()],
  test: {
    include: [modes[mode] ?? 'test/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
}))
