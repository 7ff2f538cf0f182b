import { defineConfig } from 'vitest/config'
import { mutate } from './test/simulation/mutants.ts'

export default defineConfig({
  plugins: [mutate()],
  test: { include: ['test/**/*.test.ts'], testTimeout: 30_000, hookTimeout: 30_000 },
})
