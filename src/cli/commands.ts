import type { Context, Result } from './context.ts'

/** One option of the command line, as `parseArgs` wants it and as `--help` shows it. */
export interface Option {
  readonly type: 'string' | 'boolean'
  readonly multiple?: boolean
  /** What stands for the value in help. */
  readonly value?: string
  readonly about: string
}

/** A command as data: what parsing, help and running it need. */
export interface Command {
  readonly name: string
  readonly about: string
  /** Names of what must follow the command. */
  readonly takes: readonly string[]
  /** Whether they may be left out. */
  readonly mayOmit?: boolean
  /** Whether there may be more of the last of them. */
  readonly mayRepeat?: boolean
  /** Whether a command line follows after `--`: that of another program, or one that help need not speak of. */
  readonly takesRest?: true | 'unseen'
  /** Whether stdin and stdout speak another program's protocol: then there is no `--json`. */
  readonly speaksProtocol?: true
  readonly options: Readonly<Record<string, Option>>
  readonly examples: readonly string[]
  /** Loads the command's file only when it is the one asked for: `authkeep token` must not pay for the others. */
  readonly load: () => Promise<(context: Context) => Promise<Result>>
}

export const globalOptions: Readonly<Record<string, Option>> = {
  json: { type: 'boolean', about: 'print one JSON value on stdout, errors too' },
  home: { type: 'string', value: 'dir', about: 'where auth.json and providers/ are' },
  help: { type: 'boolean', about: 'show this' },
  version: { type: 'boolean', about: 'show the version' },
}

/** The global options that a command takes, too. */
export function optionsEverywhere(command: Command | undefined): Readonly<Record<string, Option>> {
  const { json, ...others } = globalOptions
  return command?.speaksProtocol === true || json === undefined ? others : { json, ...others }
}

const account: Option = { type: 'string', value: 'name', about: 'which login to use, where there are several' }

export const commands: readonly Command[] = [
  {
    name: 'login',
    about: 'Log in to a provider, or to several at once',
    takes: ['provider'],
    mayRepeat: true,
    options: {
      flow: { type: 'string', value: 'way', about: 'browser, device, paste, api-key, client-credentials' },
      from: { type: 'string', value: 'login', about: 'the login that --flow exchange is to use' },
      'non-interactive': { type: 'boolean', about: 'ask nobody: where a person is needed, end with 4' },
      account: { ...account, about: 'what to call this login (default: default)' },
      scope: { type: 'string', multiple: true, value: 'scope', about: 'ask for this scope; may be repeated' },
      'accept-narrower': { type: 'boolean', about: 'keep a login that brings less than was asked for' },
      resource: { type: 'string', value: 'url', about: 'the resource (RFC 8707) that the login is for' },
      acr: { type: 'string', multiple: true, value: 'class', about: 'how strong the login has to be (RFC 9470)' },
      'max-age': { type: 'string', value: 'seconds', about: 'how old the login may be (RFC 9470)' },
      'no-browser': { type: 'boolean', about: 'only show the URL' },
      'api-key-stdin': { type: 'boolean', about: 'store the API key that stdin holds' },
      timeout: { type: 'string', value: 'seconds', about: 'how long to wait for the browser (default: 300)' },
    },
    examples: [
      'authkeep login acme',
      'authkeep login acme --account work --scope files:read --scope files:write',
      'authkeep login acme acme:work',
      'authkeep login acme --flow device',
      'authkeep login acme --api-key-stdin < key.txt',
    ],
    load: async () => (await import('./login.ts')).login,
  },
  {
    name: 'logout',
    about: 'Revoke a login at the server, then forget it',
    takes: ['provider'],
    options: {
      account: { ...account, about: 'which login to end, where there are several' },
      local: { type: 'boolean', about: 'only forget it here; the server is not told' },
    },
    examples: ['authkeep logout acme', 'authkeep logout acme --account work', 'authkeep logout acme --local'],
    load: async () => (await import('./logout.ts')).logout,
  },
  {
    name: 'import',
    about: 'Use logins that other programs keep',
    takes: ['program'],
    mayOmit: true,
    options: {
      provider: { type: 'string', value: 'id', about: 'the provider that it is a login to' },
      account: { ...account, about: 'what to call it here (default: default)' },
      entry: { type: 'string', value: 'name', about: 'only this one of its logins' },
      file: { type: 'string', value: 'path', about: 'another file than where the program keeps it' },
      'take-over': { type: 'boolean', about: 'own it: the program is logged out at its next refresh' },
    },
    examples: ['authkeep import', 'authkeep import codex --provider acme', 'authkeep import opencode --entry acme'],
    load: async () => (await import('./import.ts')).importLogins,
  },
  {
    name: 'accounts',
    about: 'Show what the logins are called and whose they are',
    takes: ['provider'],
    mayOmit: true,
    options: {},
    examples: ['authkeep accounts', 'authkeep accounts acme'],
    load: async () => (await import('./accounts.ts')).accounts,
  },
  {
    name: 'status',
    about: 'Show which logins there are and how they are',
    takes: [],
    options: { metrics: { type: 'boolean', about: 'in the text format of Prometheus' } },
    examples: ['authkeep status', 'authkeep status --json', 'authkeep status --metrics'],
    load: async () => (await import('./status.ts')).status,
  },
  {
    name: 'token',
    about: 'Print a token for a URL, refreshed if need be',
    takes: ['url'],
    options: {
      account,
      'min-ttl': { type: 'string', value: 'seconds', about: 'how long the token must live at least' },
      format: { type: 'string', value: 'name', about: 'raw, header, json, env, k8s, git, docker, aws, google' },
      env: { type: 'string', value: 'name', about: 'the variable of --format env (default: AUTHKEEP_TOKEN)' },
    },
    examples: [
      'authkeep token https://api.example/files',
      'authkeep token https://api.example/files --format header',
      'curl -H "Authorization: Bearer $(authkeep token https://api.example/files)" \\\n    https://api.example/files',
    ],
    load: async () => (await import('./token.ts')).token,
  },
  {
    name: 'exec',
    about: 'Run a command with the token in its environment',
    takes: ['url'],
    takesRest: true,
    options: {
      account,
      env: { type: 'string', value: 'name', about: 'the variable to set (default: AUTHKEEP_TOKEN)' },
    },
    examples: [
      'authkeep exec https://api.example/files -- ./backup.sh',
      'authkeep exec https://api.example/files --env API_TOKEN -- env',
    ],
    load: async () => (await import('./exec.ts')).exec,
  },
  {
    name: 'git-credential',
    about: 'Hand git a token: get, store, erase',
    takes: ['action'],
    speaksProtocol: true,
    options: { account },
    examples: ["printf 'protocol=https\\nhost=api.example\\npath=files\\n' |\n    authkeep git-credential get"],
    load: async () => (await import('./git-credential.ts')).gitCredential,
  },
  {
    name: 'docker-credential',
    about: 'Hand docker a token: get, list',
    takes: ['action'],
    speaksProtocol: true,
    options: { account },
    examples: ['printf https://api.example/files | authkeep docker-credential get'],
    load: async () => (await import('./docker-credential.ts')).dockerCredential,
  },
  {
    name: 'secret-ref',
    about: 'Hand OpenClaw the secrets it asks for on stdin',
    takes: [],
    speaksProtocol: true,
    options: {},
    examples: [`printf '{"protocolVersion":1,"ids":["https://api.example/files"]}' |\n    authkeep secret-ref`],
    load: async () => (await import('./secret-ref.ts')).secretRef,
  },
  {
    name: 'explain',
    about: 'Say what a URL needs and what each login has',
    takes: ['url'],
    options: { account },
    examples: ['authkeep explain https://api.example/files'],
    load: async () => (await import('./explain.ts')).explain,
  },
  {
    name: 'route',
    about: 'Say where requests to a service go, and with what',
    takes: ['service'],
    options: {
      account,
      model: { type: 'string', value: 'name', about: 'only by routes that have this model' },
      'base-url': { type: 'string', value: 'url', about: 'send them there, whatever the endpoints say' },
      'trust-base-url': { type: 'boolean', about: 'let the credential go there though no endpoint declares it' },
    },
    examples: ['authkeep route files', 'authkeep route files --base-url https://api.example/files'],
    load: async () => (await import('./route.ts')).route,
  },
  {
    name: 'order',
    about: 'Say which accounts stand in for each other',
    takes: ['provider'],
    options: {
      try: { type: 'string', multiple: true, value: 'account', about: 'these, in this order; may be repeated' },
      'round-robin': { type: 'boolean', about: 'each in turn' },
      'last-good': { type: 'boolean', about: 'first the one that served last' },
      none: { type: 'boolean', about: 'none: a caller has to name one' },
    },
    examples: ['authkeep order acme', 'authkeep order acme --try work', 'authkeep order acme --round-robin'],
    load: async () => (await import('./order.ts')).order,
  },
  {
    name: 'providers add',
    about: 'Add a provider: a file, or a server by its URL',
    takes: ['file'],
    options: {
      replace: { type: 'boolean', about: 'replace another provider of the same id' },
      endpoint: { type: 'string', multiple: true, value: 'url', about: 'where tokens of the issuer at the URL may go' },
      id: { type: 'string', value: 'name', about: 'what to call the server at the URL' },
      'client-id': { type: 'string', value: 'id', about: 'your client there; else one is registered' },
    },
    examples: [
      'authkeep providers add acme.json',
      'authkeep providers add acme.json --replace',
      "authkeep providers add https://login.acme.example \\\n    --endpoint 'https://api.acme.example/*'",
      'authkeep providers add https://mcp.acme.example/mcp',
    ],
    load: async () => (await import('./providers-add.ts')).providersAdd,
  },
  {
    name: 'providers list',
    about: 'Show the providers and check their files',
    takes: [],
    options: {},
    examples: ['authkeep providers list'],
    load: async () => (await import('./providers-list.ts')).providersList,
  },
  {
    name: 'doctor',
    about: 'Look whether all is well, and mend the store',
    takes: [],
    options: {
      fix: { type: 'boolean', about: 'mend what can be mended' },
      'start-empty': {
        type: 'boolean',
        about: 'begin anew where nothing can be mended',
      },
      offline: { type: 'boolean', about: 'ask no server' },
    },
    examples: ['authkeep doctor', 'authkeep doctor --fix'],
    load: async () => (await import('./doctor.ts')).doctor,
  },
  {
    name: 'restore',
    about: 'Go back to an older state of the store',
    takes: ['id'],
    mayOmit: true,
    options: { list: { type: 'boolean', about: 'show the older states there are' } },
    examples: ['authkeep restore --list', 'authkeep restore 2026-11-22T101500.000Z'],
    load: async () => (await import('./restore.ts')).restore,
  },
  {
    name: 'copy',
    about: 'Move the logins to another store, or back',
    takes: [],
    options: {
      from: { type: 'string', value: 'place', about: 'file, a path, postgres://…, redis://…, env:NAME' },
      to: { type: 'string', value: 'place', about: 'the same; there is no login of the same name yet' },
    },
    examples: [
      'authkeep copy --from file --to env:DATABASE_URL',
      'authkeep copy --from env:DATABASE_URL --to file',
      'authkeep copy --from file --to ./volume/auth.json',
    ],
    load: async () => (await import('./copy.ts')).copy,
  },
  {
    name: 'encrypt',
    about: 'Seal the secrets of the store with a key',
    takes: [],
    options: {
      key: { type: 'string', value: 'place', about: 'keychain, file:path, env:NAME, credential:name, passphrase' },
    },
    examples: ['authkeep encrypt --key keychain', 'authkeep encrypt --key file:keys'],
    load: async () => (await import('./encrypt.ts')).encrypt,
  },
  {
    name: 'decrypt',
    about: 'Put the secrets of the store back in the clear',
    takes: [],
    options: {},
    examples: ['authkeep decrypt'],
    load: async () => (await import('./encrypt.ts')).decrypt,
  },
  {
    name: 'rotate-key',
    about: 'Seal the store with another key',
    takes: [],
    options: {
      key: { type: 'string', value: 'place', about: 'where the new one is to be (default: where the old one is)' },
      forget: { type: 'boolean', about: 'forget the keys that nothing is sealed with' },
    },
    examples: ['authkeep rotate-key', 'authkeep rotate-key --key file:other-keys', 'authkeep rotate-key --forget'],
    load: async () => (await import('./encrypt.ts')).rotateKey,
  },
  {
    name: 'completion',
    about: 'Print a completion script for bash, zsh or fish',
    takes: ['shell'],
    takesRest: 'unseen',
    options: {},
    examples: ['authkeep completion bash', 'authkeep completion zsh', 'authkeep completion fish'],
    load: async () => (await import('./completion.ts')).completion,
  },
  {
    name: 'schema',
    about: 'Print the JSON Schema of what --json prints',
    takes: [],
    options: { 'provider-file': { type: 'boolean', about: 'that of a provider file instead' } },
    examples: ['authkeep schema', 'authkeep schema --provider-file'],
    load: async () => (await import('./schema.ts')).schema,
  },
]
