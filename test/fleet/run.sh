#!/usr/bin/env bash
# The tests with databases that many machines share. PostgreSQL comes from npm; Redis is installed where it is missing. A
# machine that does not permit that is told what was not run.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive
if ! command -v redis-server >/dev/null && command -v apt-get >/dev/null && ((EUID == 0)); then
  echo 'Installing redis-server'
  # It need not run as a service here: every test starts its own.
  apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server >/dev/null || true
fi
if ! command -v redis-server >/dev/null; then
  echo 'not run: the tests with Redis, for want of redis-server (only root of a Debian or Ubuntu can install it here)'
fi
exec npx vitest run --mode fleet
