// A login of its own process that nobody comes to: says where it listens, and then how it ended.
import { loopbackFlow } from '../../dist/index.js'

const provider = JSON.parse(process.argv[2] ?? '')
const say = (/** @type {unknown} */ value) => console.log(JSON.stringify(value))
const flow = loopbackFlow({ openBrowser: () => say('waiting') })
const request = { provider, scopes: [], resources: [], account: 'default', fetch, now: Date.now, signal: undefined }
await flow.run(request).then(say, say)
