#!/bin/sh
# Cargo's target runner by vmtest: a VM for the whole binary. Of a guest that panics, the reason is what matters.
set -eu
console=$(mktemp)
trap 'rm -f "$console"' EXIT
trap 'exit 143' TERM
status=0
RUST_BACKTRACE=0 VMTEST_NO_UI=1 vmtest --kernel "$KERNEL" "$*" </dev/null >"$console" 2>&1 || status=$?
cat "$console"
[ "$status" -eq 0 ] || grep -a 'Kernel panic' "$console" || true
exit "$status"
