#!/bin/sh
# QEMU for the peers. Where KVM is not usable, options that ask for it are replaced: vmtest has none against them. An
# instruction that this QEMU emulates wrongly is taken from the guest's CPU: it would crash the guests of the peers too.
set -eu
before=
count=$#
while [ "$count" -gt 0 ]; do
    case $ACCEL:$1 in
    tcg:-enable-kvm) ;;
    tcg:host) set -- "$@" "max$CPU_FLAGS" ;;
    tcg:*) if [ "$before" = -cpu ]; then set -- "$@" "$1$CPU_FLAGS"; else set -- "$@" "$1"; fi ;;
    *) set -- "$@" "$1" ;;
    esac
    before=$1
    shift
    count=$((count - 1))
done
