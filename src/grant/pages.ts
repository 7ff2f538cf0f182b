import { createHash } from 'node:crypto'

/** A page for the browser tab that a login leaves behind. */
export interface Page {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly html: string
}

/** Shown after the grant has been kept, not before. */
export function successPage(provider: string, account: string): Page {
  const name = account === 'default' ? '' : ` as “${account}”`
  const next = 'You can close this tab and go back to where you began.'
  return page(200, 'You are logged in', `The login to ${provider}${name} is complete.`, next)
}

/** Shown when the login failed. Everything in it is escaped. */
export function failurePage(status: number, message: string): Page {
  const next = 'No earlier login has been lost. Close this tab, and start the login again where you began it.'
  return page(status, 'The login failed', message, next)
}

/** Every colour on its ground has a contrast of 7:1 or more (WCAG 2.2, 1.4.6). */
const style = [
  ':root{color-scheme:light dark;--ground:#fff;--text:#1b1b1b;--good:#0b5a2a;--bad:#8f1313}',
  '@media(prefers-color-scheme:dark){:root{--ground:#161616;--text:#f4f4f4;--good:#7ee2a8;--bad:#ffb3ad}}',
  'body{margin:0;min-height:100vh;display:grid;place-items:center;font:1.0625rem/1.55 system-ui,sans-serif;background:var(--ground);color:var(--text)}',
  'main{box-sizing:border-box;max-width:34rem;padding:2rem;border-inline-start:.3rem solid var(--bad)}',
  'main.good{border-color:var(--good)}',
  'h1{margin:0 0 1rem;font-size:1.6rem;line-height:1.25;color:var(--bad)}',
  '.good h1{color:var(--good)}',
  'p{margin:0 0 .75rem;overflow-wrap:anywhere}',
  'main>p{margin:0}',
].join('')

function page(status: number, title: string, message: string, next: string): Page {
  const isGood = status < 400
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
<main${isGood ? ' class="good"' : ''} aria-labelledby="title">
<div role="${isGood ? 'status' : 'alert'}">
<h1 id="title"><span aria-hidden="true">${isGood ? '✓' : '✗'}</span> ${escape(title)}</h1>
<p>${escape(message)}</p>
</div>
<p>${escape(next)}</p>
</main>
</body>
</html>
`,
  }
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
