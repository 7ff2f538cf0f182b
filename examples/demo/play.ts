import type { Narrator, Voice } from './narrator.ts'

/** What a scene has found out. Printed, so never a secret. */
export type Facts = Readonly<Record<string, unknown>>

export interface Scene {
  readonly name: string
  /** What the scene shows, in a sentence. */
  readonly title: string
  /** Plays it. Whatever does not hold is thrown. */
  play(voice: Voice): Promise<Facts>
}

/** Plays every scene, also after one that does not hold. Resolves with the exit code: 0 only when all of them hold. */
export async function play(scenes: readonly Scene[], narrator: Narrator): Promise<0 | 1> {
  let exitCode: 0 | 1 = 0
  for (const scene of scenes) {
    narrator.begin(scene)
    try {
      narrator.holds(scene, await scene.play(narrator))
    } catch (error) {
      exitCode = 1
      narrator.fails(scene, reasonOf(error))
    }
  }
  return exitCode
}

function reasonOf(error: unknown): string {
  // A parser quotes what it could not read, and that may be a token.
  if (error instanceof SyntaxError) return 'something that should have been JSON could not be read'
  return error instanceof Error ? error.message : String(error)
}

/** Throws the sentence, which says what was found instead. */
export function hold(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new Error(otherwise)
}
