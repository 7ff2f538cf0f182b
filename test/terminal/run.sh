#!/usr/bin/env bash
# The tests in a real terminal, that of tmux, with zsh and fish besides bash. What is missing is installed; a machine that
# does not permit that is told what was not run.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive
missing=()
for each in tmux zsh fish; do command -v "$each" >/dev/null || missing+=("$each"); done
if ((${#missing[@]} > 0)) && command -v apt-get >/dev/null && ((EUID == 0)); then
  echo "Installing ${missing[*]}"
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || true
fi
for each in zsh fish; do
  command -v "$each" >/dev/null || echo "not run: completion in $each, which is not installed"
done
if ! command -v tmux >/dev/null; then
  echo 'not run: the tests in a terminal, for want of tmux (only root of a Debian or Ubuntu can install it here)'
  exit 0
fi
exec npx vitest run --mode terminal
