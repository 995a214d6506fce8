#!/bin/sh
# Runs the tests of the workspace in the current directory, in a CI job:
#     test.sh PLACES [OPTIONS OF `cargo kata-test test`…]
# The exit code is that of `cargo kata-test test`. On GitHub, that adds its summary to the job's page.
#
# CI systems set the variable CI. Only there does this script change the machine: it makes /dev/kvm accessible, and
# removes saved VMs from the cache.
set -eu
if [ $# -eq 0 ]; then
    echo "usage: test.sh PLACES [OPTIONS…], for example: test.sh here,vm:6.1" >&2
    exit 2
fi
places=$1
shift

command -v cargo-kata-test >/dev/null ||
    cargo install --locked --path "$(dirname "$0")/../../iothread-it/cargo-kata-test"

# Hosted runners have a KVM that their user may not open.
if [ -n "${CI:-}" ] && [ -e /dev/kvm ] && [ ! -w /dev/kvm ] && sudo -n true 2>/dev/null; then
    echo 'KERNEL=="kvm", GROUP="kvm", MODE="0666", OPTIONS+="static_node=kvm"' |
        sudo -n tee /etc/udev/rules.d/99-kvm4all.rules >/dev/null
    sudo -n udevadm control --reload-rules
    sudo -n udevadm trigger --name-match=kvm
    sudo -n udevadm settle --timeout=10
fi

cargo kata-test facts --doctor || true
status=0
cargo kata-test test --places "$places" "$@" || status=$?

# Saved VMs are of no use on another machine, and would make the job's cache larger.
if [ -n "${CI:-}" ]; then
    cargo kata-test cache clear warm >/dev/null || true
fi
exit "$status"
