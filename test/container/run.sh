#!/usr/bin/env bash
# The recipe of docs/containers.md in namespaces of this machine. A machine that does not permit that is told what was
# not run.
set -euo pipefail

# Both are of util-linux, which every Debian has.
if ! command -v nsenter >/dev/null || ! unshare --mount --pid --fork true 2>/dev/null; then
  echo 'not run: the containers, for want of namespaces (only root may open them, on Linux)'
  exit 0
fi
exec npx vitest run --mode container
