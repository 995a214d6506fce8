#!/bin/sh
# Cargo's target runner by virtme-ng: a VM for the whole binary. Its files go to FOLDER, not to the user's home.
# On a host without udev, virtme-ng prints a program's output only with --verbose, and does not know its exit status.
set -eu
console=$(mktemp)
trap 'rm -f "$console"' EXIT
trap 'exit 143' TERM
HOME=$FOLDER/home vng --run "$KERNEL" $VNG_OPTIONS --verbose --exec "$*" </dev/null >"$console" 2>&1 || true
cat "$console"
grep -q 'script exited with code 0' "$console"
