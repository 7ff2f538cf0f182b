// The floor of print-token.mjs: a module that reads a file and prints the token in it. Argument: the file.
import { readFileSync } from 'node:fs'

console.log(JSON.parse(readFileSync(process.argv[2], 'utf8')).accessToken)
