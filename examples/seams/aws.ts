// The AWS SDK with keys of `authkeep token --format aws`, as `credential_process` of the profile acme.
import { fromProcess } from '@aws-sdk/credential-provider-process'
import { converse } from './conversation.ts'

const keys = fromProcess({ profile: 'acme' })

await converse(async () => (await keys()).accessKeyId)
