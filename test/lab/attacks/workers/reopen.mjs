// A fresh process that finds stores: in each it reads every key, then commits. Arguments: JSON
// { dist, paths, keys, staleLockMs }. Prints a JSON line for each path.
const { dist, paths, keys, staleLockMs } = JSON.parse(process.argv[2])
const { fileBackend } = await import(`${dist}/index.js`)
const told = (error) => `${error.code ?? 'no code'}: ${error.message}`

async function visit(path) {
  const backend = fileBackend({ path, staleLockMs, lockTimeoutMs: 15_000 })
  const line = { values: {}, commitError: null, commitMs: 0 }
  try {
    for (const key of keys) line.values[key] = (await backend.read(key))?.value ?? null
  } catch (error) {
    return { error: told(error) }
  }
  try {
    const before = performance.now()
    const expected = (await backend.read('p:next'))?.revision ?? null
    const result = await backend.commit([{ key: 'p:next', next: { token: 'next' }, expected }])
    line.commitMs = performance.now() - before
    if (!result.ok) line.commitError = 'refused'
  } catch (error) {
    line.commitError = told(error)
  }
  await backend.close()
  return line
}

for (const path of paths) process.stdout.write(`${JSON.stringify(await visit(path))}\n`)
