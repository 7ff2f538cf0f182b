import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Provider } from 'oidc-provider'

/** What the consent page of oidc-provider still has to ask for. */
interface Missing {
  readonly missingOIDCScope?: readonly string[]
  readonly missingOIDCClaims?: string[]
  readonly missingResourceScopes?: Readonly<Record<string, readonly string[]>>
}

export const interactionPath = (uid: string): string => `/interaction/${uid}`

/** Shows the login and the consent page, and takes their forms. Resolves with false for any other path. */
export async function interact(
  provider: Provider,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> {
  if (request.url?.startsWith('/interaction/') !== true) return false
  if (request.method === 'POST') await submit(provider, request, response)
  else await show(provider, request, response)
  return true
}

async function show(provider: Provider, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { uid, prompt, params } = await provider.interactionDetails(request, response)
  const client = escape(String(params['client_id']))
  const body =
    prompt.name === 'login'
      ? `<label>Name <input name="login" required autofocus></label>
<label>Password <input name="password" type="password" required></label>
<button name="action" value="login">Sign in</button>`
      : `<p>${client} asks for:</p>
${scopesOf(prompt.details as Missing)
  .map(checkbox)
  .join('\n')}
<button name="action" value="allow">Allow</button>`
  response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'no-store' })
  response.end(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Demo authorization server</title>
<style>:root{color-scheme:light dark}body{font:1rem/1.6 system-ui;max-width:26rem;margin:4rem auto}label,button{display:block;margin:.5rem 0}</style>
<h1>${prompt.name === 'login' ? 'Sign in' : 'Allow access?'}</h1>
<form method="post" action="${interactionPath(uid)}">
${body}
<button name="action" value="deny" formnovalidate>Deny</button>
</form>
</html>
`)
}

async function submit(provider: Provider, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const form = new URLSearchParams(await readBody(request))
  const { prompt, session, params } = await provider.interactionDetails(request, response)
  if (form.get('action') === 'deny') {
    const result = { error: 'access_denied', error_description: 'the person said no' }
    return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false })
  }
  if (prompt.name === 'login') {
    // Whoever signs in here signs in as strongly as the client has asked for.
    const { acr_values: asked } = params
    const [acr = ''] = typeof asked === 'string' ? asked.split(' ') : ['password']
    const result = { login: { accountId: form.get('login') ?? 'nobody', acr } }
    return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false })
  }
  const grant = new provider.Grant({ accountId: session?.accountId ?? '', clientId: String(params['client_id']) })
  const allowed = new Set(form.getAll('scope'))
  const details = prompt.details as Missing
  for (const scope of details.missingOIDCScope ?? []) {
    if (scope === 'openid' || allowed.has(scope)) grant.addOIDCScope(scope)
    else grant.rejectOIDCScope(scope)
  }
  if (details.missingOIDCClaims !== undefined) grant.addOIDCClaims(details.missingOIDCClaims)
  for (const [resource, scopes] of Object.entries(details.missingResourceScopes ?? {})) {
    for (const scope of scopes) {
      if (allowed.has(scope)) grant.addResourceScope(resource, scope)
      else grant.rejectResourceScope(resource, scope)
    }
  }
  const result = { consent: { grantId: await grant.save() } }
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true })
}

function scopesOf(details: Missing): readonly string[] {
  const scopes = [...(details.missingOIDCScope ?? []), ...Object.values(details.missingResourceScopes ?? {}).flat()]
  return [...new Set(scopes)].filter((scope) => scope !== 'openid')
}

function checkbox(scope: string): string {
  return `<label><input type="checkbox" name="scope" value="${escape(scope)}" checked> ${escape(scope)}</label>`
}

export async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
