#!/bin/sh
# Cargo's target runner by vmtest: a VM for the whole binary.
VMTEST_NO_UI=1 exec vmtest --kernel "$KERNEL" "$*" </dev/null
