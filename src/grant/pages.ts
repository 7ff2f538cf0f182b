import { createHash } from 'node:crypto'

/** A page for the browser tab that a login leaves behind. */
export interface Page {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly html: string
}

/** Shown after the code has been exchanged, not before. */
export function successPage(provider: string): Page {
  return page(200, 'You are logged in', `The login to ${provider} is complete.`, 'You can close this tab.')
}

/** Shown when the login failed. Everything in it is escaped. */
export function failurePage(status: number, message: string): Page {
  return page(status, 'The login failed', message, 'Close this tab, and start the login again where you began it.')
}

const style = [
  ':root{color-scheme:light dark}',
  'body{margin:0;min-height:100vh;display:grid;place-items:center;font:1rem/1.5 system-ui,sans-serif;background:Canvas;color:CanvasText}',
  'main{max-width:32rem;padding:2rem}',
  'h1{margin:0 0 1rem;font-size:1.5rem}',
  'p{margin:0 0 .75rem;overflow-wrap:anywhere}',
  '.next{color:GrayText}',
].join('')

function page(status: number, title: string, message: string, next: string): Page {
  const digest = createHash('sha256').update(style).digest('base64')
  return {
    status,
    headers: {
      'Content-Type': 'text/html; charset=utf-8',
      'Content-Security-Policy': `default-src 'none'; style-src 'sha256-${digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
      'Cache-Control': 'no-store',
      'Referrer-Policy': 'no-referrer',
      'X-Content-Type-Options': 'nosniff',
      Connection: 'close',
    },
    html: `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)}</title>
<style>${style}</style>
</head>
<body>
<main>
<h1>${escape(title)}</h1>
<p>${escape(message)}</p>
<p class="next">${escape(next)}</p>
</main>
</body>
</html>
`,
  }
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
