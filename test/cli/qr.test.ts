import jsQR from 'jsqr'
import { expect, it } from 'vitest'
import { qrText } from '../../src/cli/qr.ts'

const decode = jsQR as unknown as (pixels: Uint8ClampedArray, width: number, height: number) => { data: string } | null

/** What a camera in front of a dark terminal sees: a character is one module wide and two high. */
function photograph(text: string): { pixels: Uint8ClampedArray; width: number; height: number } {
  const scale = 4
  const rows = text
    .split('\n')
    .flatMap((line) => [
      Array.from(line, (character) => '█▀'.includes(character)),
      Array.from(line, (character) => '█▄'.includes(character)),
    ])
  const width = (rows[0]?.length ?? 0) * scale
  const height = rows.length * scale
  const pixels = new Uint8ClampedArray(width * height * 4).fill(255)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const isLight = rows[Math.floor(y / scale)]?.[Math.floor(x / scale)] === true
      pixels.fill(isLight ? 255 : 0, (y * width + x) * 4, (y * width + x) * 4 + 3)
    }
  }
  return { pixels, width, height }
}

it('is read back as the URL, and fits a terminal', async () => {
  const url = 'https://login.acme.example/device?user_code=WDJB-MJHT'
  const text = await qrText(url)
  const { pixels, width, height } = photograph(text)
  expect(decode(pixels, width, height)?.data).toBe(url)
  const lines = text.split('\n')
  expect(lines.length).toBeLessThanOrEqual(22)
  expect(Math.max(...lines.map((line) => Array.from(line).length))).toBeLessThanOrEqual(80)
})
