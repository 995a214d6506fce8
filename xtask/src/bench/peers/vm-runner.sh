#!/bin/sh
# Cargo's target runner, as one writes it at first: boots a VM for a test process, with the test binary in an
# initramfs. KERNEL is the image of the kernel, ACCEL is kvm or tcg.
set -eu
case " $* " in *" --list "*) exec "$@" ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 143' TERM
root=$work/root
mkdir -p "$root/bin" "$root/proc" "$root/dev" "$root/sys" "$root/tmp"
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$1" "$root/test"
for library in $(ldd "$1" | grep -o '/[^ ]*'); do
    mkdir -p "$root${library%/*}"
    cp -L "$library" "$root$library"
done
shift
cat >"$root/init" <<END
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t sysfs sys /sys
/test $*
echo "the test ended with \$?"
/bin/busybox poweroff -f
END
chmod +x "$root/init"
(cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/initramfs"
qemu-system-x86_64 -accel "$ACCEL" -cpu max -m 512 -nographic -no-reboot -nic none -kernel "$KERNEL" \
    -initrd "$work/initramfs" -append "console=ttyS0 quiet panic=-1" </dev/null >"$work/console" 2>&1 || true
cat "$work/console"
grep -q '^the test ended with 0' "$work/console"
