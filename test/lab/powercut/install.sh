#!/bin/sh
# What the power-cut rig needs on a fresh Debian or Ubuntu, to be run as root.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends \
  gcc libc6-dev pkg-config libfuse3-dev fuse3 util-linux mount e2fsprogs xfsprogs btrfs-progs
