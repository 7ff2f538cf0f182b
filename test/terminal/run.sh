#!/usr/bin/env bash
# The tests in a real terminal, that of tmux, which is installed where it is missing. A machine that does not permit that
# is told what was not run.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive
if ! command -v tmux >/dev/null && command -v apt-get >/dev/null && ((EUID == 0)); then
  echo 'Installing tmux'
  apt-get update -qq && apt-get install -y -qq --no-install-recommends tmux >/dev/null || true
fi
if ! command -v tmux >/dev/null; then
  echo 'not run: the tests in a terminal, for want of tmux (only root of a Debian or Ubuntu can install it here)'
  exit 0
fi
exec npx vitest run --mode terminal
