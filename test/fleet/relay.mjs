// TCP servers that pass everything on. Argument: JSON [[from, to], …], each { host, port }. Prints {} when they listen.
import { connect, createServer } from 'node:net'

for (const [from, to] of JSON.parse(process.argv[2])) {
  const server = createServer((near) => {
    const far = connect(to)
    near.on('error', () => far.destroy()).pipe(far)
    far.on('error', () => near.destroy()).pipe(near)
  })
  await new Promise((resolve) => server.listen(from.port, from.host, resolve))
}
console.log('{}')
