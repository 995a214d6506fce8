//! Other machines, and machines in machines.

use super::made_up::{INITIAL_PID, INITIAL_USER, MadeUp};
use crate::facts::{Finding, measured_kvm};

pub(super) fn hosts() -> Vec<MadeUp> {
    vec![
        arm(),
        arm_guest(),
        interpreting(),
        without_virtualization(),
        without_module(),
        broken_kvm(),
        emulated(),
        nested_hardware(),
        unequal_cpus(),
        firmware_only(),
    ]
}

fn arm() -> MadeUp {
    MadeUp {
        files: vec![
            ("/etc/os-release", "ID=debian\nVERSION_ID=\"13\"\n"),
            (
                "/proc/cpuinfo",
                "processor\t: 0\nFeatures\t: fp asimd aes sha2\nCPU implementer\t: 0x41\n",
            ),
            (
                "/proc/device-tree/model",
                "Raspberry Pi 4 Model B Rev 1.4\0",
            ),
        ],
        links: &[INITIAL_USER, INITIAL_PID],
        arch: "aarch64",
        signature: "-",
        cpus: 1,
        met: &[
            "arch = \"aarch64\"",
            "cpu_feature = \"asimd\"",
            "virt = \"none\"",
            "any(arch = \"aarch64\", arch = \"s390x\")",
            "kernel_ge = \"6.12.25\"",
        ],
        unmet: &[
            "arch = \"x86_64\"",
            "cpu_feature = \"avx2\"",
            "virt = \"kvm\"",
            "cpus_ge = 2",
        ],
        undetermined: &["caps = \"CAP_KILL\""],
        ..MadeUp::new(
            "arm64",
            "6.12.25+rpt-rpi-v8",
            "#1 SMP PREEMPT Debian 1:6.12.25-1+rpt1 (2025-04-30)",
        )
    }
}

fn arm_guest() -> MadeUp {
    MadeUp {
        files: vec![("/proc/device-tree/hypervisor/compatible", "linux,kvm\0")],
        links: &[INITIAL_USER, INITIAL_PID],
        arch: "aarch64",
        signature: "-",
        met: &["virt = \"kvm\""],
        unmet: &["virt = \"none\""],
        ..MadeUp::new("arm64 on KVM", "6.6.0", "#1 SMP")
    }
}

fn interpreting() -> MadeUp {
    MadeUp {
        uid: 0,
        files: vec![
            (
                "/proc/cpuinfo",
                "processor\t: 0\nflags\t\t: fpu avx2 hypervisor\n",
            ),
            ("/sys/module/kvm_pvm/refcnt", "0\n"),
        ],
        links: &[INITIAL_USER, INITIAL_PID],
        signature: "KVMKVMKVM",
        probes: vec![
            (
                "kvm",
                Finding::Is("a guest's instructions have the right effects".into()),
            ),
            ("kvm speed", Finding::Is(measured_kvm(70_000))),
            ("kvm capabilities", Finding::Is("0-4 32".into())),
            (
                "device /dev/kvm",
                Finding::Is("it opens for reading and writing".into()),
            ),
        ],
        met: &[
            "device = \"/dev/kvm\"",
            "virt = \"kvm\"",
            "module = \"kvm-pvm\"",
            "kvm",
            "kvm_cap = \"KVM_CAP_IRQFD\"",
        ],
        unmet: &[
            "kvm_hardware",
            "kvm_vendor = \"amd\"",
            "cpu_feature = \"vmx\"",
        ],
        undetermined: &[],
        ..MadeUp::new(
            "a nested host whose KVM interprets",
            "6.18.44-fc-v657",
            "#1 SMP",
        )
    }
}

fn no_node() -> Vec<(&'static str, Finding)> {
    vec![("kvm", Finding::Absent("there is no /dev/kvm".into()))]
}

fn without_virtualization() -> MadeUp {
    MadeUp {
        files: vec![("/proc/cpuinfo", "flags\t\t: fpu hypervisor\n")],
        probes: no_node(),
        unmet: &["kvm"],
        ..MadeUp::new("a VM without nested virtualization", "6.1.0", "#1 SMP")
    }
}

/// A kernel that was built without the module.
fn without_module() -> MadeUp {
    MadeUp {
        files: vec![
            ("/proc/cpuinfo", "flags\t\t: fpu svm\n"),
            ("/sys/module/virtio/refcnt", "0\n"),
            (
                "/lib/modules/5.4.0/modules.builtin",
                "kernel/fs/ext4/ext4.ko\n",
            ),
            (
                "/lib/modules/5.4.0/modules.dep",
                "kernel/drivers/net/tun.ko:\n",
            ),
        ],
        probes: no_node(),
        unmet: &["kvm", "kvm_cap = \"KVM_CAP_IRQFD\""],
        ..MadeUp::new("a kernel without kvm_amd", "5.4.0", "#1 SMP")
    }
}

/// KVM that creates VMs, whose guests do something else than hardware would.
fn broken_kvm() -> MadeUp {
    MadeUp {
        uid: 0,
        probes: vec![(
            "kvm",
            Finding::Absent(
                "/dev/kvm opens but does not work: the dirty log is not what a guest wrote: it has \
                 pages 0b0"
                    .into(),
            ),
        )],
        unmet: &[
            "kvm",
            "kvm_hardware",
            "kvm_cap = \"KVM_CAP_IRQFD\"",
            "kvm_vendor = \"intel\"",
        ],
        ..MadeUp::new("KVM that does not work", "6.1.0", "#1 SMP")
    }
}

/// A guest whose CPU QEMU emulates, with SVM.
fn emulated() -> MadeUp {
    guest_with_kvm("KVM in an emulated CPU", "TCGTCGTCGTCG", 1_600)
}

/// A guest of a host with nested virtualization.
fn nested_hardware() -> MadeUp {
    MadeUp {
        met: &["kvm", "kvm_hardware", "virt = \"kvm\""],
        unmet: &[],
        ..guest_with_kvm("KVM in KVM", "KVMKVMKVM", 160)
    }
}

fn guest_with_kvm(name: &'static str, signature: &'static str, nanoseconds: u64) -> MadeUp {
    MadeUp {
        files: vec![("/proc/cpuinfo", "flags\t\t: fpu svm hypervisor\n")],
        signature,
        probes: vec![
            (
                "kvm",
                Finding::Is("a guest's instructions have the right effects".into()),
            ),
            ("kvm speed", Finding::Is(measured_kvm(nanoseconds))),
            ("kvm capabilities", Finding::Is("0-40".into())),
        ],
        met: &[
            "kvm",
            "kvm_cap = \"KVM_CAP_IRQFD\"",
            "kvm_vendor = \"amd\"",
            "virt = \"qemu\"",
        ],
        unmet: &["kvm_hardware", "kvm_vendor = \"intel\""],
        ..MadeUp::new(name, "6.1.0", "#1 SMP")
    }
}

fn unequal_cpus() -> MadeUp {
    MadeUp {
        files: vec![(
            "/proc/cpuinfo",
            "processor: 0\nflags: fpu avx512f\nprocessor: 1\nflags: fpu\n",
        )],
        links: &[INITIAL_USER, INITIAL_PID],
        met: &["cpu_feature = \"fpu\""],
        unmet: &["cpu_feature = \"avx512f\""],
        ..MadeUp::new("CPUs that are not alike", "6.8.0", "#1 SMP")
    }
}

fn firmware_only() -> MadeUp {
    MadeUp {
        files: vec![
            ("/sys/class/dmi/id/sys_vendor", "innotek GmbH\n"),
            ("/proc/cpuinfo", "flags: fpu hypervisor\n"),
        ],
        links: &[INITIAL_USER, INITIAL_PID],
        signature: "KVMKVMKVM",
        met: &["virt = \"oracle\""],
        unmet: &["virt = \"kvm\""],
        ..MadeUp::new("VirtualBox with KVM's interface", "6.8.0", "#1 SMP")
    }
}
