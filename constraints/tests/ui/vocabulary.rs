//! A value that means nothing, for each constraint that checks one: all in one go, each at its place.

use kata_test::kata_test;

#[kata_test(
    kernel = "5.10",
    kernel = ">= 6, < 5",
    vendor_kernel("rhel >= 5.14.0-441", "plan9 >= 4", "rhel9"),
    caps("CAP_SYS_ADMN", "ROOT"),
    arch = "x86-64",
    arch = "vax",
    namespace = "tyme",
    cgroup = "2",
    virt = "kvn",
)]
fn names_and_versions() {}

#[kata_test(
    command = "qemu-img >= eight",
    command = "",
    distro = "Ubuntu",
    distro = "ubuntu 22.04",
    distro = "ubuntu >= jammy",
    distro_like = "rhel >= 9",
    mem_available_ge = "2GB",
    disk_free_ge = "lots",
    mem_available_ge = "0GiB",
)]
fn versions_and_sizes() {}

#[kata_test(
    device = "kvm",
    device = "/dev/watchdog0",
    device = "/dev/../etc/passwd",
    module = "vhost net",
    cgroup_controller = "",
    cpu_feature = "sse4.2",
    env = "=x",
    opt_in = "a b",
)]
fn paths_and_words() {}

#[kata_test(
    kconfig = "KVM=y",
    kconfig = "CONFIG_KVM &",
    kconfig = "CONFIG_KVM=y | CONFIG_USER_NS=y",
    kconfig = "CONFIG_KVM CONFIG_USER_NS",
    kconfig = "CONFIG_HZ=",
)]
fn symbols() {}

#[kata_test(kvm_cap = "KVM_CAP_IRQFDD", kvm_cap = "IRQFD", kvm_vendor = "Intel", kvm_vendor = "arm")]
fn virtualization() {}

fn main() {}
