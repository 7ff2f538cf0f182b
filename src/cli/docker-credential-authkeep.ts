#!/usr/bin/env node
import { start } from './start.ts'

// By this name docker finds a helper that is called authkeep.
await start(['docker-credential', ...process.argv.slice(2)])
