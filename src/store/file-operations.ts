import * as fs from 'node:fs'

/** What the store wants to know about a file. Two equal `identity` strings mean: nobody has written in between. */
export interface FileStat {
  readonly identity: string
  readonly ino: bigint
  readonly size: number
  readonly mtimeMs: number
  readonly birthtimeMs: number
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly links: number
  readonly isFile: boolean
}

/**
 * Every system call that the file backend makes, by argument, so that tests can stop, fail or record each one.
 *
 * All but the syncs and the copy are synchronous: a small call costs less than its trip through the thread pool, and
 * what must happen in one tick can. Each throws the system's error; "not there" is null where the signature says so.
 */
export interface FileOperations {
  /** Of the path itself, a link not followed. */
  lstat(path: string): FileStat | null
  /** Of an open file. */
  fstat(fd: number): FileStat
  /** Whether this very file is mounted by itself, as `docker -v auth.json:…` does: then nothing can be renamed over it. */
  isMountPoint(path: string): boolean
  /** The target of a symbolic link; null when the path is absent or no link. */
  readlink(path: string): string | null
  /** Content and identity of the same inode. */
  read(path: string): { readonly bytes: Buffer; readonly stat: FileStat } | null
  /** A new file, 0600, which must not exist yet and is never reached through a link. */
  create(path: string): number
  /** Sets the mode of an open file. */
  fchmod(fd: number, mode: number): void
  /** Sets owner and group of an open file. */
  fchown(fd: number, uid: number, gid: number): void
  /** An existing file, for reading and writing in place. */
  openExisting(path: string): number
  /** Writes `bytes` from `offset` on at `position` of the file. May write less than it was given, as pwrite(2) does. */
  write(fd: number, bytes: Uint8Array, offset: number, position: number): number
  /** Cuts or extends an open file to `size` bytes. */
  truncate(fd: number, size: number): void
  /** Resolves when the content is on the disk, as far as fsync(2) can tell. */
  fsync(fd: number): Promise<void>
  /** Closes an open file. */
  close(fd: number): void
  /** Puts a file in the place of another in one step. */
  rename(from: string, to: string): void
  /** Removes a name. */
  unlink(path: string): void
  /** Resolves when the names in a directory are on the disk. */
  fsyncDirectory(path: string): Promise<void>
  /** The names in a directory. */
  readdir(path: string): readonly string[]
  /** Makes a directory with its parents, 0700; what is there is left as it is. */
  makeDirectories(path: string): void
  /** Makes a directory that must not exist yet, 0700. */
  mkdir(path: string): void
  /** Removes an empty directory. */
  rmdir(path: string): void
  /** Sets the times of access and modification. */
  utimes(path: string, time: Date): void
  /** A small text that appears whole or not at all, and only where nothing was. */
  createRecord(path: string, text: string): void
  /** The text that `createRecord` has written; null where there is none. */
  readRecord(path: string): string | null
  /** Replaces what stands beside the credential file (second copy, quarantined bytes), durably but for the directory. */
  replaceBeside(path: string, bytes: Uint8Array): Promise<void>
}

// Windows has no such flag; O_EXCL alone refuses an existing link there.
const noFollow = (fs.constants as { O_NOFOLLOW?: number }).O_NOFOLLOW ?? 0
const { O_WRONLY, O_CREAT, O_EXCL } = fs.constants

/** The real file system. */
export const systemFiles: FileOperations = {
  lstat: (path) => orNull(() => describe(fs.lstatSync(path, { bigint: true }))),
  fstat: (fd) => describe(fs.fstatSync(fd, { bigint: true })),
  isMountPoint: (path) => process.platform === 'linux' && mountPoints().includes(path),
  // Asked ahead of every commit and nearly always "no link", which is cheaper to see than to catch.
  readlink: (path) =>
    fs.lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true ? fs.readlinkSync(path) : null,
  read: (path) =>
    orNull(() => {
      const fd = fs.openSync(path, 'r')
      try {
        // The identity first: if somebody writes while we read, what is remembered is older than the file, and stays so.
        const stat = describe(fs.fstatSync(fd, { bigint: true }))
        return { bytes: fs.readFileSync(fd), stat }
      } finally {
        fs.closeSync(fd)
      }
    }),
  create: (path) => fs.openSync(path, O_WRONLY | O_CREAT | O_EXCL | noFollow, 0o600),
  fchmod: (fd, mode) => fs.fchmodSync(fd, mode),
  fchown: (fd, uid, gid) => fs.fchownSync(fd, uid, gid),
  openExisting: (path) => fs.openSync(path, 'r+'),
  write: (fd, bytes, offset, position) => fs.writeSync(fd, bytes, offset, bytes.byteLength - offset, position),
  truncate: (fd, size) => fs.ftruncateSync(fd, size),
  fsync: (fd) =>
    new Promise((resolve, reject) => fs.fsync(fd, (error) => (error === null ? resolve() : reject(error)))),
  close: (fd) => fs.closeSync(fd),
  rename: (from, to) => fs.renameSync(from, to),
  unlink: (path) => fs.unlinkSync(path),
  async fsyncDirectory(path) {
    // Windows has no such call: its file systems order a rename behind the data by themselves.
    if (process.platform === 'win32') return
    const fd = fs.openSync(path, 'r')
    try {
      await this.fsync(fd)
    } finally {
      fs.closeSync(fd)
    }
  },
  readdir: (path) => fs.readdirSync(path),
  makeDirectories: (path) => void fs.mkdirSync(path, { recursive: true, mode: 0o700 }),
  mkdir: (path) => fs.mkdirSync(path, 0o700),
  rmdir: (path) => fs.rmdirSync(path),
  utimes: (path, time) => fs.utimesSync(path, time, time),
  // A symbolic link is created together with its content; on Windows links need a privilege, and `wx` is close enough.
  createRecord: (path, text) =>
    process.platform === 'win32' ? fs.writeFileSync(path, text, { flag: 'wx' }) : fs.symlinkSync(text, path),
  readRecord: (path) =>
    orNull(
      () => (process.platform === 'win32' ? fs.readFileSync(path, 'utf8') : fs.readlinkSync(path)),
      'ENOENT',
      'EINVAL',
    ),
  async replaceBeside(path, bytes) {
    const { default: writeFileAtomic } = await import('write-file-atomic')
    // The library writes without looking at the count that write(2) returns; so the bytes are written here, whole, and
    // it contributes the temporary name, the sync, the clean-up and the rename. Its options object is not shared: it
    // changes what it is given.
    await writeFileAtomic(path, null as unknown as string, {
      mode: 0o600,
      tmpfileCreated: (temporary: string) => fs.writeFileSync(temporary, bytes, { flag: 'r+' }),
    })
    if (fs.statSync(path).size !== bytes.byteLength) throw Object.assign(new Error('short write'), { code: 'ENOSPC' })
  },
}

/** The fifth field of each line of /proc/self/mountinfo, where blanks and backslashes are written as octal numbers. */
function mountPoints(): readonly string[] {
  const table = orNull(() => fs.readFileSync('/proc/self/mountinfo', 'utf8'), 'ENOENT', 'EACCES') ?? ''
  const unescape = (field: string): string =>
    field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
  return table.split('\n').map((line) => unescape(line.split(' ')[4] ?? ''))
}

function describe(stat: fs.BigIntStats): FileStat {
  return {
    identity: `${stat.dev}.${stat.ino}.${stat.size}.${stat.mtimeNs}`,
    ino: stat.ino,
    size: Number(stat.size),
    // With its fraction, which the system's own milliseconds leave out.
    mtimeMs: Number(stat.mtimeNs) / 1e6,
    birthtimeMs: Number(stat.birthtimeMs),
    mode: Number(stat.mode) & 0o777,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    links: Number(stat.nlink),
    isFile: stat.isFile(),
  }
}

function orNull<T>(call: () => T, ...absent: readonly string[]): T | null {
  try {
    return call()
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? ''
    if (absent.length === 0 ? code === 'ENOENT' || code === 'ENOTDIR' : absent.includes(code)) return null
    throw error
  }
}
