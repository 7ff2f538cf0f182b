#!/usr/bin/env bash
# The tests with databases that many machines share, and with two machines that are namespaces of this one. PostgreSQL
# comes from npm; what else is missing is installed. A machine that does not permit that is told what was not run.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive
missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v faketime >/dev/null || missing+=(faketime)
command -v ip >/dev/null || missing+=(iproute2)
if ((${#missing[@]} > 0)) && command -v apt-get >/dev/null && ((EUID == 0)); then
  echo "Installing ${missing[*]}"
  # Redis need not run as a service here: every test starts its own.
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || true
fi
if ! command -v redis-server >/dev/null; then
  echo 'not run: the tests with Redis, for want of redis-server (only root of a Debian or Ubuntu can install it here)'
fi
if ! command -v faketime >/dev/null || ! unshare --net --uts --pid --mount --fork true 2>/dev/null; then
  echo 'not run: the two machines, for want of faketime, or of namespaces (only root may open them, on Linux)'
fi
exec npx vitest run --mode fleet
