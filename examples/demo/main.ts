import { parseArgs } from 'node:util'
import { killDuringWrite, truncated } from './crashes.ts'
import { endpointA, endpointB, scopeMissing, stillLoggedIn } from './endpoints.ts'
import { jsonNarrator, textNarrator } from './narrator.ts'
import { onboard } from './onboarding.ts'
import { play } from './play.ts'
import { eightProcesses } from './processes.ts'
import { setStage } from './stage.ts'

const { values } = parseArgs({ options: { json: { type: 'boolean', default: false } } })
const narrator = values.json ? jsonNarrator(process.stdout) : textNarrator(process.stdout, process.env)
const stage = await setStage()

narrator.open(`authkeep, in eight scenes. For the next few seconds a real authorization server
and a real API run on this machine:

   authorization server  ${stage.server.issuer}
   API                   ${stage.api.origin}/files and /mail
   home directory        ${stage.home}`)

const scenes = [
  onboard(stage),
  endpointA(stage),
  endpointB(stage),
  scopeMissing(stage),
  eightProcesses(stage),
  killDuringWrite(stage),
  truncated(stage),
  stillLoggedIn(stage),
]
process.exitCode = await play(scenes, narrator)

const { token, reuse } = stage.server.counts()
const logins = token['authorization_code'] ?? 0
const seconds = (performance.now() / 1_000).toFixed(1)
narrator.close(`It took ${seconds} s.
The server counted: logins ${logins}, refreshes ${stage.refreshes()}, reuse ${reuse}.`)
await stage.strike()
