import { type Command, commands, globalOptions, type Option, optionsEverywhere } from './commands.ts'

/** Help for everything, or for one command, made from the table of commands. */
export function helpFor(command: Command | undefined): string {
  return `${(command === undefined ? overview() : helpForCommand(command)).join('\n')}\n`
}

function overview(): readonly string[] {
  return [
    'authkeep keeps OAuth credentials safe and hands out the right token for a URL.',
    '',
    'Usage: authkeep <command> [options]',
    '',
    ...columns(commands.map((command) => [usage(command), command.about])),
    '',
    'Everywhere:',
    ...columns(optionRows(globalOptions)),
    '',
    'Examples:',
    ...commands.flatMap(({ examples }) => examples.slice(0, 1)).map((example) => `  ${example}`),
    '',
    'authkeep <command> --help says more. Exit codes: 0 ok, 1 error, 2 cancelled,',
    '4 login needed, 75 busy or temporary (try again).',
  ]
}

function helpForCommand(command: Command): readonly string[] {
  const own = optionRows(command.options)
  return [
    `${command.about}.`,
    '',
    `Usage: authkeep ${command.takesRest === true ? usage(command).replace(' --', ' [options] --') : `${usage(command)}${own.length === 0 ? '' : ' [options]'}`}`,
    '',
    ...columns([...own, ...optionRows(optionsEverywhere(command))]),
    '',
    'Examples:',
    ...command.examples.map((example) => `  ${example}`),
  ]
}

function usage({ name, takes, mayOmit = false, mayRepeat = false, takesRest }: Command): string {
  const rest = takesRest === true ? ['--', '<cmd>'] : []
  return [name, ...takes.map((each) => (mayOmit ? `[${each}]` : `<${each}>${mayRepeat ? '…' : ''}`)), ...rest].join(' ')
}

function optionRows(options: Readonly<Record<string, Option>>): readonly (readonly [string, string])[] {
  return Object.entries(options).map(([name, { value, about }]) => [
    `--${name}${value === undefined ? '' : ` <${value}>`}`,
    about,
  ])
}

function columns(rows: readonly (readonly [string, string])[]): readonly string[] {
  const width = Math.max(...rows.map(([left]) => left.length))
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`)
}
