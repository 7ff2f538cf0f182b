import { defineConfig } from 'vitest/config'
import { mutate } from './test/simulation/mutants.ts'

// `--mode storms`: what takes too long for every run.
export default defineConfig(({ mode }) => ({
  plugins: [mutate()],
  test: {
    include: [mode === 'storms' ? 'test/**/*.storms.ts' : 'test/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
}))
