#!/usr/bin/env bash
# What the crash laboratory needs on a fresh Debian or Ubuntu. Run as root.
set -euo pipefail
apt-get update
apt-get install -y --no-install-recommends \
  strace bindfs fuse3 e2fsprogs xfsprogs btrfs-progs gcc libc6-dev libfuse3-dev pkg-config util-linux
