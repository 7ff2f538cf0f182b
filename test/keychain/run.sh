#!/usr/bin/env bash
# The tests with a real Secret Service: gnome-keyring, on a session bus of its own. What is missing is installed; a machine
# that does not permit that is told what was not run.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive
missing() { ! command -v gnome-keyring-daemon >/dev/null || ! command -v dbus-run-session >/dev/null; }
if missing && command -v apt-get >/dev/null && ((EUID == 0)); then
  echo 'Installing gnome-keyring'
  apt-get update -qq && apt-get install -y -qq --no-install-recommends gnome-keyring dbus libglib2.0-bin >/dev/null || true
fi
if missing; then
  echo 'not run: the tests with a keychain, for want of gnome-keyring (only root of a Debian or Ubuntu can install it here)'
  exit 0
fi
exec npx vitest run --mode keychain
