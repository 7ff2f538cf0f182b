import type { Hash } from 'node:crypto'

/*
 * Functions of Node's built-in modules that a living token does without. To import such a module costs a start one to
 * three milliseconds; `process.getBuiltinModule` loads it at the first call, in the same tick.
 */

export const createHash = (algorithm: 'sha256'): Hash => process.getBuiltinModule('node:crypto').createHash(algorithm)

export const randomBytes = (size: number): Buffer => process.getBuiltinModule('node:crypto').randomBytes(size)

export const randomInt = (least: number, below: number): number =>
  process.getBuiltinModule('node:crypto').randomInt(least, below)

export const randomUUID = (): string => process.getBuiltinModule('node:crypto').randomUUID()

export const isDeepStrictEqual = (one: unknown, other: unknown): boolean =>
  process.getBuiltinModule('node:util').isDeepStrictEqual(one, other)

/** The standard output of a program that takes no input. */
export const outputOf = (program: string, words: readonly string[]): string =>
  process.getBuiltinModule('node:child_process').execFileSync(program, words, { encoding: 'utf8' })

export const hostname = (): string => process.getBuiltinModule('node:os').hostname()

export const homedir = (): string => process.getBuiltinModule('node:os').homedir()

/** What the system calls its errors, and their numbers. */
export const errorNumbers = (): Readonly<Record<string, number>> => process.getBuiltinModule('node:os').constants.errno
