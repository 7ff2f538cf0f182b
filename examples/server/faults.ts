import type { IncomingMessage, ServerResponse } from 'node:http'

/**
 * What goes wrong with one token request. Only `lost` and `slowMs` let the server carry it out: `lost` then drops the
 * answer and `slowMs` holds it back, so that a refresh token is spent and nobody, or nobody in time, learns of its
 * successor.
 */
export type Fault =
  | 'html'
  | 'nothing'
  | 'reset'
  | 'lost'
  | 'empty400'
  | {
      readonly status: number
      readonly retryAfter?: string
      readonly body?: string
      readonly headers?: Record<string, string>
    }
  | { readonly slowMs: number }

/** Changes the JSON body of a token answer on its way out. */
export type Mutation = (body: Record<string, unknown>) => Record<string, unknown> | string

type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<void>

/** Serves a token request with a fault in front of it, or as it is. */
export async function serveFaulty(
  fault: Fault | undefined,
  request: IncomingMessage,
  response: ServerResponse,
  serve: Handler,
): Promise<void> {
  if (fault === undefined) return serve(request, response)
  if (fault === 'lost') {
    onBody(response, () => {
      request.socket.destroy()
      return null
    })
    return serve(request, response)
  }
  if (typeof fault === 'object' && 'slowMs' in fault) {
    const end = response.end.bind(response) as (body: unknown) => ServerResponse
    response.end = ((body: unknown) => {
      setTimeout(() => end(body), fault.slowMs)
      return response
    }) as typeof response.end
    return serve(request, response)
  }
  request.resume()
  if (fault === 'nothing') {
    request.socket.destroy()
  } else if (fault === 'reset') {
    request.socket.resetAndDestroy()
  } else if (fault === 'html') {
    response
      .writeHead(200, { 'Content-Type': 'text/html' })
      .end('<!doctype html><title>Welcome to the hotel network</title>')
  } else if (fault === 'empty400') {
    response.writeHead(400, { 'Content-Length': '0' }).end()
  } else {
    const headers = { ...fault.headers, ...(fault.retryAfter === undefined ? {} : { 'Retry-After': fault.retryAfter }) }
    response.writeHead(fault.status, { 'Content-Type': 'application/json', ...headers }).end(fault.body ?? '')
  }
}

/** Lets `mutation` rewrite a JSON answer before it leaves. */
export function mutateJson(response: ServerResponse, mutation: Mutation): void {
  onBody(response, (text) => {
    if (response.statusCode !== 200) return text
    const changed = mutation(JSON.parse(text) as Record<string, unknown>)
    return typeof changed === 'string' ? changed : JSON.stringify(changed)
  })
}

/** Puts `change` between a handler that answers with one `end` and the wire; null sends nothing at all. */
function onBody(response: ServerResponse, change: (text: string) => string | null): void {
  const end = response.end.bind(response) as (body: string) => ServerResponse
  response.end = ((body: unknown) => {
    const text = change(Buffer.isBuffer(body) || typeof body === 'string' ? String(body) : '')
    if (text === null) return response
    response.setHeader('Content-Length', Buffer.byteLength(text))
    return end(text)
  }) as typeof response.end
}
