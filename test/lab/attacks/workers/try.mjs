// Reads an entry and tries to change it, and says what came of both. Arguments: JSON { dist, path, key, next, exclusion }.
const { dist, path, key, next } = JSON.parse(process.argv[2])
const { fileBackend } = await import(`${dist}/index.js`)
const told = (error) => ({
  code: error.code ?? null,
  errno: error.detail?.errno ?? null,
  operation: error.detail?.operation ?? null,
  message: error.message,
})

const backend = fileBackend({ path, lockTimeoutMs: 2_000 })
const line = {
  value: null,
  readError: null,
  commit: null,
  commitError: null,
  after: null,
  exclusion: backend.exclusion,
}
let revision = null
try {
  const entry = await backend.read(key)
  line.value = entry?.value ?? null
  revision = entry?.revision ?? null
} catch (error) {
  line.readError = told(error)
}
try {
  line.commit = await backend.commit([{ key, next, expected: revision }])
} catch (error) {
  line.commitError = told(error)
}
try {
  line.after = (await backend.read(key))?.value ?? null
} catch {
  // The first read has said why.
}
line.exclusion = backend.exclusion
await backend.close()
process.stdout.write(`${JSON.stringify(line)}\n`)
