import { createHash } from '../on-demand.ts'
import { decodeBlank, encodeBlank } from './blank.ts'

/*
 * The second copy is the document itself, followed by a seal in JSON white space: what the document's bytes hash to,
 * and which inode state they were written as. With it, damage that still parses can be told from an edit: a file that
 * nobody has written since, by size and time, and that reads differently, has rotted.
 */

const magic = 'AKC1'
const sealBytes = 4 + 32 + 32

/** Where the newest committed state stands a second time, in an inode of its own. */
export function copyPath(target: string): string {
  return `${target}.bak`
}

/** The bytes of the second copy of a document that stands in the file with this identity. */
export function sealedCopy(document: Uint8Array, identity: string): Buffer {
  return Buffer.concat([document, encodeBlank(Buffer.concat([Buffer.from(magic), sha256(document), sha256(identity)]))])
}

/** What a second copy says about itself and about the file. */
export interface CopySeal {
  /** The copy is as it was written; without a seal, a copy is taken at its word. */
  readonly isWhole: boolean
  /** The file is the very inode state that the copy was made of, and its bytes are not the ones that were written. */
  hasRotted(bytes: Uint8Array, identity: string): boolean
  /** The file is the copy but for a single byte. */
  isOneByteFrom(bytes: Uint8Array): boolean
}

export function sealOf(copy: Buffer): CopySeal {
  const sealAt = copy.byteLength - sealBytes * 4
  const seal = sealAt < 0 ? null : decodeBlank(copy.subarray(sealAt))
  if (seal?.toString('latin1', 0, 4) !== magic) {
    return { isWhole: true, hasRotted: () => false, isOneByteFrom: () => false }
  }
  const document = copy.subarray(0, sealAt)
  // Nothing is hashed for a file that reads as its copy does.
  const isWhole = (): boolean => sha256(document).equals(seal.subarray(4, 36))
  return {
    get isWhole() {
      return isWhole()
    },
    hasRotted: (bytes, identity) => !document.equals(bytes) && isWhole() && sha256(identity).equals(seal.subarray(36)),
    isOneByteFrom: (bytes) =>
      isWhole() &&
      document.byteLength === bytes.byteLength &&
      document.filter((byte, at) => byte !== bytes[at]).byteLength === 1,
  }
}

function sha256(bytes: Uint8Array | string): Buffer {
  return createHash('sha256').update(bytes).digest()
}
