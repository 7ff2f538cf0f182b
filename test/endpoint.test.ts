import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  baseUrlOf,
  compilePattern,
  declaredHosts,
  type Endpoint,
  matchEndpoint,
  requirementOf,
} from '../src/endpoint.ts'

const matches = (pattern: string, url: string): boolean =>
  compilePattern(pattern).problem === undefined && matchEndpoint([{ url: pattern }], new URL(url)) !== undefined

const problem = (pattern: string): string | undefined => compilePattern(pattern).problem

describe('an endpoint pattern matches', () => {
  it.each([
    ['https://api.example/files', 'https://api.example/files'],
    ['https://api.example/files', 'https://api.example/files?page=2#top'],
    ['https://api.example', 'https://api.example/'],
    ['https://api.example/files/*', 'https://api.example/files/a/b/c'],
    ['https://api.example/*/content', 'https://api.example/a/b/content'],
    ['https://API.Example:443/files', 'https://api.example/files'],
    ['https://api.example/files', 'https://API.EXAMPLE:443/files'],
    ['https://api.example/a/../files', 'https://api.example/files'],
    ['https://api.example/files', 'https://api.example/x/%2e%2e/files'],
    ['https://*.example.com/v1', 'https://eu.example.com/v1'],
    ['https://bücher.example/v1', 'https://xn--bcher-kva.example/v1'],
    ['https://xn--bcher-kva.example/v1', 'https://BÜCHER.example/v1'],
    ['https://api.example/caf%C3%A9', 'https://api.example/café'],
    ['http://localhost:8080/v1', 'http://localhost:8080/v1'],
    ['http://127.0.0.1:8080/v1', 'http://127.1:8080/v1'],
    ['http://[::1]:8080/v1', 'http://[0:0:0:0:0:0:0:1]:8080/v1'],
    ['https://api.example/projects/*', 'https://api.example/projects/group%2Fname'],
  ])('%s ← %s', (pattern, url) => expect(matches(pattern, url)).toBe(true))
})

describe('an endpoint pattern keeps a token from', () => {
  it.each([
    ['another host that ends alike', 'https://api.example/*', 'https://evil-api.example/files'],
    ['another host that begins alike', 'https://api.example/*', 'https://api.example.evil.test/files'],
    ['a host with the name as its user', 'https://api.example/*', 'https://api.example@evil.test/files'],
    ['the right host with a user in front', 'https://api.example/*', 'https://user@api.example/files'],
    ['the right host with a password in front', 'https://api.example/*', 'https://:pass@api.example/files'],
    ['a host written before a backslash', 'https://api.example/*', 'https://evil.test\\@api.example/files'],
    ['a look-alike in another script', 'https://api.example/*', 'https://аpi.example/files'],
    ['another port', 'https://api.example/*', 'https://api.example:8443/files'],
    ['the default port when another is declared', 'https://api.example:8443/*', 'https://api.example/files'],
    ['plain http', 'https://api.example/*', 'http://api.example/files'],
    ['plain http on the port of https', 'https://api.example/*', 'http://api.example:443/files'],
    ['a web socket', 'https://api.example/*', 'wss://api.example/files'],
    [
      'the fully qualified spelling, another site to the browser',
      'https://api.example/*',
      'https://api.example./files',
    ],
    ['two labels under a star', 'https://*.example.com/*', 'https://a.b.example.com/v1'],
    ['the name under a star itself', 'https://*.example.com/*', 'https://example.com/v1'],
    ['a host where a dot is another letter', 'https://api.example/*', 'https://apixexample/files'],
    ['a path that climbs out', 'https://api.example/files/*', 'https://api.example/files/../admin'],
    ['a path that climbs out, encoded', 'https://api.example/files/*', 'https://api.example/files/%2e%2e/admin'],
    [
      'a path that climbs out for servers that decode',
      'https://api.example/files/*',
      'https://api.example/files/..%2fadmin',
    ],
    ['the same with everything encoded', 'https://api.example/files/*', 'https://api.example/files/x%2F%2e%2E%2Fadmin'],
    ['the same with backslashes', 'https://api.example/files/*', 'https://api.example/files/..%5Cadmin'],
    ['a path that begins alike', 'https://api.example/files', 'https://api.example/filesystem'],
    ['a path below, without a star', 'https://api.example/files', 'https://api.example/files/a'],
    ['a path in another case', 'https://api.example/files', 'https://api.example/Files'],
    ['a path in front of the declared one', 'https://api.example/files', 'https://api.example/x/files'],
  ])('%s', (_, pattern, url) => {
    expect(problem(pattern)).toBeUndefined()
    expect(matches(pattern, url)).toBe(false)
  })
})

describe('an endpoint pattern is refused', () => {
  it.each([
    ['a relative URL', '/files', /origin and a path/],
    ['another scheme', 'ftp://api.example/', /origin and a path/],
    ['a scheme that runs code', 'javascript:alert(1)', /origin and a path/],
    ['a user', 'https://user@api.example/', /origin and a path/],
    ['a query, which nothing would look at', 'https://api.example/?a=b', /origin and a path/],
    ['a fragment', 'https://api.example/#a', /origin and a path/],
    ['plain http on another machine', 'http://api.example/', /must be https/],
    ['plain http on a name that begins like loopback', 'http://localhost.evil.test/', /must be https/],
    ['a star for any host', 'https://*/', /first label/],
    ['a star over a whole top-level domain', 'https://*.com/', /first label/],
    ['the same with a dot at the end', 'https://*.com./', /dot at the end/],
    ['a star in part of a label', 'https://api-*.example.com/', /first label/],
    ['a star in a middle label', 'https://api.*.example.com/', /first label/],
    ['a star in part of a label behind a starred one', 'https://*.example.com*/', /first label/],
    ['the same inside a label', 'https://*.exam*ple.com/', /first label/],
    ['two starred labels', 'https://*.*.example.com/', /first label/],
    ['a star in the port', 'https://api.example:*/', /not a URL/],
    ['a star in an address', 'https://*.0.0.1/', /not a URL/],
    ['a star that dot segments swallow', 'https://api.example/*/../admin', /star where none can be/],
    ['the stand-in for a star', 'https://authkeep-any.example.com/', /star where none can be/],
    [
      'the stand-in, for a star that dot segments swallow',
      'https://authkeep-any.example.com/*/..',
      /star where none can be/,
    ],
    ['the stand-in in capitals', 'https://AUTHKEEP-ANY.example.com/', /star where none can be/],
    ['the stand-in percent-encoded', 'https://%61uthkeep-any.example.com/', /star where none can be/],
    ['a dot at the end of the host', 'https://api.example./', /dot at the end/],
    ['a backslash', 'https://api.example\\files', /backslash/],
    ['a line break', 'https://api.exam\nple/', /control character/],
    ['a space', 'https://api.example/a b', /space/],
    ['nothing', '', /origin and a path/],
  ])('%s', (_, pattern, why) => {
    expect(problem(pattern)).toMatch(why)
    expect(matchEndpoint([{ url: pattern }], new URL('https://api.example/'))).toBeUndefined()
  })
})

describe('of several endpoints the most specific one is found', () => {
  const pick = (urls: readonly string[], url: string): string | undefined =>
    matchEndpoint(
      urls.map((each): Endpoint => ({ url: each })),
      new URL(url),
    )?.url

  it.each([
    ['a longer path', ['https://api.example/*', 'https://api.example/files/*'], 'https://api.example/files/a'],
    ['an exact path', ['https://api.example/files*', 'https://api.example/files'], 'https://api.example/files'],
    [
      'a host spelt out',
      ['https://*.example.com/a/long/path/*', 'https://eu.example.com/*'],
      'https://eu.example.com/a/long/path/x',
    ],
    [
      'what is longer once normalised',
      ['https://api.example:443/x/../*', 'https://api.example/files/*'],
      'https://api.example/files/a',
    ],
  ])('%s', (_, [less = '', more = ''], url) => {
    expect(pick([less, more], url)).toBe(more)
    expect(pick([more, less], url)).toBe(more)
  })

  it('the first of two that are the same', () => {
    const first: Endpoint = { url: 'https://api.example/*', scopes: ['a'] }
    expect(matchEndpoint([first, { ...first, scopes: ['b'] }], new URL('https://api.example/x'))).toBe(first)
  })
})

describe('whatever the pattern and the URL', () => {
  const label = fc.stringMatching(/^[a-z][a-z0-9]{0,5}$/)
  const host = fc.array(label, { minLength: 2, maxLength: 4 }).map((labels) => labels.join('.'))
  const path = fc.array(fc.stringMatching(/^[\w.~%-]{0,6}$/), { maxLength: 4 }).map((steps) => `/${steps.join('/')}`)

  it('a pattern without a star in its host matches that host only', () => {
    fc.assert(
      fc.property(host, host, path, (declared, asked, anyPath) => {
        fc.pre(URL.canParse(`https://${asked}${anyPath}`))
        const url = new URL(`https://${asked}${anyPath}`)
        if (matchEndpoint([{ url: `https://${declared}/*` }], url) !== undefined) expect(url.host).toBe(declared)
      }),
    )
  })

  it('any URL that parses is answered without an error', () => {
    fc.assert(
      fc.property(fc.webUrl({ withFragments: true, withQueryParameters: true }), fc.string(), (url, pattern) => {
        expect(() => matchEndpoint([{ url: pattern }, { url: 'https://*.example.com/*' }], new URL(url))).not.toThrow()
      }),
    )
  })

  it('a URL without a star or a query is a pattern for itself', () => {
    fc.assert(
      fc.property(host, path, (name, anyPath) => {
        const url = `https://${name}${anyPath}`
        fc.pre(URL.canParse(url) && problem(url) === undefined)
        expect(matches(url, url)).toBe(true)
      }),
    )
  })
})

describe('what an endpoint declares', () => {
  it('becomes a requirement with every default spelt out', () => {
    expect(requirementOf({ url: 'https://api.example/' })).toEqual({
      scopes: [],
      resource: null,
      accepts: ['oauth', 'token'],
      endpoint: 'https://api.example/',
    })
  })

  it.each([
    ['https://api.example/v1/*', 'https://api.example/v1'],
    ['https://api.example/v1', 'https://api.example/v1'],
    ['https://*.example.com/v1/*/x*', 'https://*.example.com/v1'],
    ['https://*.example.com', 'https://*.example.com'],
  ])('of %s has the base %s', (url, base) => expect(baseUrlOf({ url })).toBe(base))

  it('names each host once', () => {
    const endpoints = ['https://api.example/a', 'https://api.example/b', 'https://*.example.com:8443/'].map((url) => ({
      url,
    }))
    expect(declaredHosts(endpoints)).toEqual(['api.example', '*.example.com:8443'])
  })

  it('names each host in ASCII, as it is called', () => {
    const endpoints = ['https://\u0430pi.example/', 'https://%65vil.test:443/', 'https://a\u00ADpi.example/'].map(
      (url) => ({ url }),
    )
    expect(declaredHosts(endpoints)).toEqual(['xn--pi-6kc.example', 'evil.test', 'api.example'])
  })
})
