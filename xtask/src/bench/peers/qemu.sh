#!/bin/sh
# QEMU for the peers. Where KVM is not usable, options that ask for it are replaced: vmtest has none against them.
set -eu
count=$#
while [ "$count" -gt 0 ]; do
    case $ACCEL:$1 in
    tcg:-enable-kvm) ;;
    tcg:host) set -- "$@" max ;;
    *) set -- "$@" "$1" ;;
    esac
    shift
    count=$((count - 1))
done
