#!/usr/bin/env bash
# What a container engine does between its namespaces and process 1, and then is process 1.
# enter.sh <tree> <build|rw|ro> <scratch> <mounts> <program...>; a line of mounts is: kind, source, target, rw or ro.
set -euo pipefail
tree=$1 mode=$2 scratch=$3 mounts=$4
shift 4

mount -t tmpfs tmpfs "$scratch"
root=$scratch/root
mkdir "$root" "$scratch/upper" "$scratch/work"
if [[ $mode == build ]]; then
  mount --bind "$tree" "$root"
else
  mount -t overlay overlay -o "lowerdir=$tree,upperdir=$scratch/upper,workdir=$scratch/work" "$root"
fi
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
while IFS=$'\t' read -r kind source target access; do
  target=$root$target
  if [[ $kind == tmpfs ]]; then
    mkdir -p "$target"
    mount -t tmpfs -o mode=1777 tmpfs "$target"
    continue
  fi
  if [[ -d $source ]]; then mkdir -p "$target"; elif [[ ! -e $target ]]; then mkdir -p "${target%/*}" && : >"$target"; fi
  mount --bind "$source" "$target"
  if [[ $access == ro ]]; then mount -o remount,bind,ro "$target"; fi
done <"$mounts"
if [[ $mode == ro ]]; then mount -o remount,bind,ro "$root"; fi
cd "$root"
pivot_root . .
umount -l .
cd /
exec "$@"
