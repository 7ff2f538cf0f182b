#!/usr/bin/env node
import { start } from './start.ts'

// By this name git finds a helper that is called authkeep.
await start(['git-credential', ...process.argv.slice(2)])
