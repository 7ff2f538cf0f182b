/**
 * A QR code as text, two modules to a character, light where the code is light: it reads on a dark terminal as it is,
 * and most readers take it inverted on a light one.
 */
export async function qrText(text: string): Promise<string> {
  const { renderUnicodeCompact } = await import('uqr')
  return renderUnicodeCompact(text, { border: 2, ecc: 'L' })
}
