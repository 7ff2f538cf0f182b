#!/usr/bin/env bash
# Installs what the laboratory needs and a fresh Debian or Ubuntu lacks. Says nothing when all is there. Where it may
# not install anything it says what is missing and goes on: the laboratory itself tells what it therefore does not run.
set -euo pipefail

# In the order of use: the compiler for the tracer and the disk of the power cuts, which is a FUSE file system; the
# file systems to be filled up and cut; another FUSE file system, as container mounts on a Mac are one; namespaces,
# mounts, kernel modules.
packages=(
  gcc libc6-dev pkgconf libfuse3-dev
  e2fsprogs xfsprogs btrfs-progs
  bindfs fuse3
  util-linux mount kmod
)

command -v dpkg-query apt-get >/dev/null || {
  echo "The laboratory needs, by their Debian names: ${packages[*]}. Without apt-get nothing is installed here."
  exit 0
}

missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
    missing+=("$package")
done
((${#missing[@]} > 0)) || exit 0

if ((EUID != 0)); then
  echo "Missing, and only root may install it: ${missing[*]}"
  exit 0
fi
echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
{ apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } ||
  echo "apt-get could not install them all."
