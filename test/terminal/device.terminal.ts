import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Desk, openDesk } from '../cli/desk.ts'
import { type DeviceServer, jsonDialect, startDeviceServer } from '../grant/device-server.ts'
import { openPane, type Pane } from './pane.ts'

let desk: Desk
let server: DeviceServer
let pane: Pane
beforeAll(async () => {
  desk = await openDesk({}, async (options) => {
    server = await startDeviceServer(jsonDialect, options)
    return server
  })
  await desk.addProvider('demo', { deviceLogin: server.deviceLogin })
  pane = openPane({ AUTHKEEP_HOME: desk.home, SSH_TTY: 'x' })
  await pane.prompts()
})
afterAll(async () => {
  pane.close()
  await desk.clear()
})

it('a code on another device is chosen over SSH, with a picture of the address', async () => {
  await pane.enter('authkeep login demo')
  await pane.shows('whoever sent you a code')
  const screen = pane.screen()
  expect(screen).toContain('Logging in with a code on another device, because this is an SSH session.')
  expect(screen).toMatch(/█[▀▄█ ]{10,}█/)
  await server.approve(/enter the code (\S+)/.exec(screen)?.[1] ?? '')
  expect(await pane.prompts()).toBe(0)
})
