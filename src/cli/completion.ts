import { type Command, commands, globalOptions, type Option } from './commands.ts'
import { type Context, type Result, UsageError } from './context.ts'

const writers = { bash, zsh, fish } as const

/** `authkeep completion <shell>`: a script for the shell to source, made from the table of commands. */
export async function completion(context: Context): Promise<Result> {
  const [shell = ''] = context.words
  if (!Object.hasOwn(writers, shell)) throw new UsageError('There is completion for bash, zsh and fish.')
  const script = writers[shell as keyof typeof writers]()
  return { text: script, json: { shell, script } }
}

const optionsOf = (command: Command): Readonly<Record<string, Option>> => ({ ...command.options, ...globalOptions })
const words = (options: Readonly<Record<string, Option>>): string =>
  Object.keys(options)
    .map((name) => `--${name}`)
    .join(' ')

/** The first words of the commands, and what may follow the first word of those that have two. */
function families(): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>()
  for (const { name } of commands) {
    const [first = '', second] = name.split(' ')
    found.set(first, [...(found.get(first) ?? []), ...(second === undefined ? [] : [second])])
  }
  return found
}

function bash(): string {
  const cases = [...families()].flatMap(([first, seconds]) => {
    const mine = commands.filter(({ name }) => name.split(' ')[0] === first)
    const offered = [...seconds, words(Object.assign({}, ...mine.map(optionsOf)) as Command['options'])].join(' ')
    return [`    ${first}) offered="${offered}" ;;`]
  })
  return `# authkeep completion for bash: source <(authkeep completion bash)
_authkeep() {
  local current="\${COMP_WORDS[COMP_CWORD]}" offered
  case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
    *) offered="" ;;
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then offered="${[...families().keys()].join(' ')} ${words(globalOptions)}"; fi
  COMPREPLY=($(compgen -W "$offered" -- "$current"))
}
complete -o default -F _authkeep authkeep
`
}

/** In single quotes, which the texts of the table do not have to do without. */
const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`

function zsh(): string {
  const described = commands.map(({ name, about }) => `    ${quoted(`${name.split(' ')[0] ?? ''}:${about}`)}`)
  const cases = [...families()].map(([first, seconds]) => {
    const mine = commands.filter(({ name }) => name.split(' ')[0] === first)
    const options = Object.entries(Object.assign({}, ...mine.map(optionsOf)) as Command['options']).map(
      ([name, { value, about }]) =>
        quoted(`--${name}[${about.replaceAll(/[[\]:]/g, ' ')}]${value === undefined ? '' : `:${value}:_files`}`),
    )
    const next = seconds.length === 0 ? quoted('*:word:_files') : quoted(`1:command:(${seconds.join(' ')})`)
    return `    ${first}) _arguments ${[...options, next].join(' ')} ;;`
  })
  return `#compdef authkeep
# authkeep completion for zsh: source <(authkeep completion zsh)
_authkeep() {
  local -a commands
  commands=(
${[...new Set(described)].join('\n')}
  )
  if (( CURRENT == 2 )); then _describe command commands; return; fi
  local command="$words[2]"
  shift words; (( CURRENT-- ))
  case "$command" in
${cases.join('\n')}
  esac
}
compdef _authkeep authkeep
`
}

function fish(): string {
  const first = [...families()].map(([name]) => {
    const about = commands.find((command) => command.name.split(' ')[0] === name)?.about ?? ''
    return `complete -c authkeep -n __fish_use_subcommand -a ${name} -d ${quoted(about)}`
  })
  const rest = [...families()].flatMap(([name, seconds]) => {
    const isMine = `-n '__fish_seen_subcommand_from ${name}'`
    const mine = commands.filter((command) => command.name.split(' ')[0] === name)
    const options = Object.entries(Object.assign({}, ...mine.map(optionsOf)) as Command['options'])
    return [
      ...(seconds.length === 0 ? [] : [`complete -c authkeep ${isMine} -a '${seconds.join(' ')}'`]),
      ...options.map(
        ([option, { value, about }]) =>
          `complete -c authkeep ${isMine} -l ${option}${value === undefined ? '' : ' -r'} -d ${quoted(about)}`,
      ),
    ]
  })
  return `# authkeep completion for fish: authkeep completion fish | source\n${[...first, ...rest].join('\n')}\n`
}
