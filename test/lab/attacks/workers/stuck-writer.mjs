// Takes the locks of all paths and stays in the middle of its commits for ever, drafts written. Arguments: JSON
// { dist, paths }. Prints a line once it is stuck everywhere.
const { dist, paths } = JSON.parse(process.argv[2])
const { fileBackend } = await import(`${dist}/index.js`)
const { systemFiles } = await import(`${dist}/store/contract.js`)

let stuck = 0
const files = {
  ...systemFiles,
  fsync: () => {
    if (++stuck === paths.length) process.stdout.write('{"stuck":true}\n')
    return new Promise(() => {})
  },
}
for (const path of paths) {
  void fileBackend({ path, files }).commit([{ key: 'p:dead', next: { token: 'never stored' }, expected: null }])
}
setInterval(() => {}, 1_000_000)
