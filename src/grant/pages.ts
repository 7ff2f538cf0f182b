import { createHash } from '../on-demand.ts'
import type { Provider } from '../provider.ts'
import type { GrantRequest } from './flow.ts'

/** A page for the browser tab that a login leaves behind. */
export interface Page {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly html: string
}

/** Whose login a page is about. */
export type Told = Pick<GrantRequest, 'account' | 'part'> & { readonly provider: Pick<Provider, 'id'> }

/** Shown after the grant has been kept, not before; of a login that is stored with later ones, after it was obtained. */
export function successPage({ provider, account, part = { number: 1, of: 1 } }: Told): Page {
  const login = `The login to ${provider.id}${account === 'default' ? '' : ` as “${account}”`}`
  const { number, of } = part
  if (number < of) {
    return page(200, 'part', {
      title: `Login ${number} of ${of} is done`,
      message: `${login} is done. Nothing is stored yet: the ${of} logins are stored together, after the last one.`,
      next: 'You can close this tab. The next login follows where you began.',
    })
  }
  return page(200, 'good', {
    title: 'You are logged in',
    message: of === 1 ? `${login} is complete.` : `${login} was the last of ${of}. All of them are complete.`,
    next: 'You can close this tab and go back to where you began.',
  })
}

/** Shown when the login failed. Everything in it is escaped. */
export function failurePage(message: string, { part }: Pick<Told, 'part'>): Page {
  const together = part === undefined ? '' : ` The ${part.of} logins are stored together or not at all.`
  return page(400, 'bad', {
    title: 'The login failed',
    message,
    next: `No earlier login has been lost.${together} Close this tab, and start again where you began.`,
  })
}

/** For whatever else comes to the address: it changes nothing. */
export function strayPage(status: number, message: string): Page {
  return page(status, 'bad', {
    title: 'Not part of this login',
    message,
    next: 'It has changed nothing: a login that is under way goes on. You can close this tab.',
  })
}

/** Every colour on its ground has a contrast of 7:1 or more (WCAG 2.2, 1.4.6). */
const style = [
  ':root{color-scheme:light dark;--ground:#fff;--text:#1b1b1b;--good:#0b5a2a;--part:#0b4a8a;--bad:#8f1313}',
  '@media(prefers-color-scheme:dark){:root{--ground:#161616;--text:#f4f4f4;--good:#7ee2a8;--part:#9ecbff;--bad:#ffb3ad}}',
  'body{margin:0;min-height:100vh;display:grid;place-items:center;font:1.0625rem/1.55 system-ui,sans-serif;background:var(--ground);color:var(--text)}',
  'main{box-sizing:border-box;max-width:34rem;padding:2rem;border-inline-start:.3rem solid var(--kind)}',
  '.good{--kind:var(--good)}.part{--kind:var(--part)}.bad{--kind:var(--bad)}',
  'h1{margin:0 0 1rem;font-size:1.6rem;line-height:1.25;color:var(--kind)}',
  'p{margin:0 0 .75rem;overflow-wrap:anywhere}',
  'main>p{margin:0}',
].join('')

const marks = { good: '✓', part: '→', bad: '✗' } as const

interface Words {
  readonly title: string
  readonly message: string
  readonly next: string
}

function page(status: number, kind: keyof typeof marks, { title, message, next }: Words): Page {
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
<main class="${kind}" aria-labelledby="title">
<div role="${kind === 'bad' ? 'alert' : 'status'}">
<h1 id="title"><span aria-hidden="true">${marks[kind]}</span> ${escape(title)}</h1>
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
