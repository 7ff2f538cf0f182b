import { type Context, type Result, UsageError } from './context.ts'

/**
 * `authkeep completion <shell>`: a script for the shell to source. What it offers it asks for each time, with the command
 * line so far after `--`: `authkeep completion <shell> -- …`, which reads, changes nothing and never fails.
 */
export async function completion(context: Context): Promise<Result> {
  const [shell = ''] = context.words
  const script = Object.hasOwn(scripts, shell) ? scripts[shell] : undefined
  if (script === undefined) throw new UsageError('There is completion for bash, zsh and fish.')
  if (context.rest.length === 0) return { text: script, json: { shell, script } }
  const { offerFor } = await import('./offer.ts')
  return offerFor(shell, context)
}

// Nothing that is offered is ever part of what a shell evaluates: it arrives as data and is quoted, in bash by us, in the
// others by the shell. The first record says whether the names of files are offered besides.
const scripts: Readonly<Record<string, string>> = {
  bash: `# authkeep completion for bash: source <(authkeep completion bash)
_authkeep() {
  local each
  COMPREPLY=()
  while IFS= read -r each; do
    COMPREPLY+=("$each")
  done < <(command authkeep completion bash -- "\${COMP_LINE:0:COMP_POINT}" "$2" </dev/null 2>/dev/null)
  if [ "\${COMPREPLY[0]-}" = files ]; then compopt -o default 2>/dev/null; fi
  COMPREPLY=("\${COMPREPLY[@]:1}")
}
complete -F _authkeep authkeep
`,
  zsh: `#compdef authkeep
# authkeep completion for zsh: source <(authkeep completion zsh)
_authkeep() {
  local -a found values shown
  local value display
  found=("\${(@0)$(command authkeep completion zsh -- "\${(@Q)words[2,CURRENT-1]}" "\${(Q)PREFIX}" </dev/null 2>/dev/null)}")
  if [[ "$found[1]" == files ]]; then _files; return; fi
  for value display in "\${(@)found[2,-2]}"; do
    values+=("$value")
    shown+=("$display")
  done
  compadd -l -d shown -a values
}
if [[ "$funcstack[1]" == _authkeep ]]; then _authkeep "$@"; else compdef _authkeep authkeep; fi
`,
  fish: String.raw`# authkeep completion for fish: authkeep completion fish | source
function __authkeep_complete
  set -l current (string unescape -- (commandline -ct | string collect))
  or set current (commandline -ct | string trim --left --chars '\'"')
  set -l words (commandline -cpo)
  set -l found (command authkeep completion fish -- $words[2..-1] "$current" </dev/null 2>/dev/null | string split0)
  if test "$found[1]" = files
    __fish_complete_path "$current"
  else if set -q found[2]
    printf '%s\0' $found[2..-1] | string split0
  end
end
complete -c authkeep -f -a '(__authkeep_complete)'
`,
}
