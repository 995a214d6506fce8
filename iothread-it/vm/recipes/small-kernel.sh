#!/bin/sh
# Builds two small kernels from Debian's package `linux-source`, to try `cargo kata-test --kernel` by hand:
# one with all that a place needs built in and no modules, and one without virtio, which is refused.
#
#   small-kernel.sh FOLDER [with-virtio|without-virtio]
#
# It needs gcc, make, flex, bison, bc, libelf-dev and xz-utils, and takes some minutes of CPU time. A second
# call continues where the first one stopped. The results are FOLDER/NAME/arch/x86/boot/bzImage (the
# configuration is in the image) and FOLDER/NAME/vmlinux.
set -eu

folder=$(mkdir -p "${1:?usage: small-kernel.sh FOLDER [with-virtio|without-virtio]}" && cd "$1" && pwd)
source=$folder/source

if [ ! -f "$source/Makefile" ]; then
    cd "$folder"
    package=$(apt-cache depends --important linux-source | sed -n 's/^ *Depends: //p')
    apt-get download "$package"
    dpkg-deb --fsys-tarfile "$package"_*.deb | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |
        xz -dc | { mkdir -p unpacked && tar -x -C unpacked --strip-components=1; }
    mv unpacked "$source"
    rm -f "$package"_*.deb
fi

# What every kernel has: it boots, unpacks an initramfs, runs programs, and prints to the serial port.
common="64BIT PRINTK BUG PCI PCI_MSI ACPI TTY SERIAL_8250 SERIAL_8250_CONSOLE BLOCK BLK_DEV
    BLK_DEV_INITRD BINFMT_ELF BINFMT_SCRIPT SMP X86_LOCAL_APIC X86_IO_APIC HYPERVISOR_GUEST PVH PARAVIRT
    KERNEL_XZ RD_GZIP IKCONFIG MULTIUSER FUTEX EPOLL SIGNALFD TIMERFD EVENTFD AIO POSIX_TIMERS
    FILE_LOCKING SHMEM ADVISE_SYSCALLS MEMBARRIER RSEQ HIGH_RES_TIMERS PROC_FS PROC_SYSCTL SYSFS DEVTMPFS
    TMPFS INOTIFY_USER FHANDLE NET UNIX INET MISC_FILESYSTEMS EROFS_FS OVERLAY_FS CGROUPS NAMESPACES
    UTS_NS IPC_NS PID_NS NET_NS USER_NS SYSVIPC KALLSYMS RTC_CLASS"
virtio="VIRTIO_MENU VIRTIO_PCI VIRTIO_BLK VIRTIO_CONSOLE SCSI BLK_DEV_SD SCSI_LOWLEVEL SCSI_VIRTIO
    HOTPLUG_PCI HOTPLUG_PCI_PCIE HOTPLUG_PCI_ACPI PCIEPORTBUS HW_RANDOM HW_RANDOM_VIRTIO"

build() {
    build=$folder/$1
    mkdir -p "$build"
    if [ ! -f "$build/.config" ]; then
        make -s -C "$source" O="$build" tinyconfig
        for option in $2; do
            "$source/scripts/config" --file "$build/.config" --enable "$option"
        done
        "$source/scripts/config" --file "$build/.config" --set-str LOCALVERSION "-$1" \
            --disable KERNEL_GZIP --disable SLOB --enable SLUB
        make -s -C "$source" O="$build" olddefconfig
    fi
    make -s -C "$source" O="$build" -j"${JOBS:-1}" bzImage
}

[ "${2:-with-virtio}" = with-virtio ] && build with-virtio "$common $virtio"
[ "${2:-without-virtio}" = without-virtio ] && build without-virtio "$common"
exit 0
