//! Other machines, and machines in machines.

use super::made_up::{INITIAL_PID, INITIAL_USER, MadeUp};
use crate::facts::{Finding, measured_kvm};

pub(super) fn hosts() -> Vec<MadeUp> {
    vec![
        arm(),
        arm_guest(),
        interpreting(),
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
            ("kvm", Finding::Is(measured_kvm(34_000_000))),
            (
                "device /dev/kvm",
                Finding::Is("it opens for reading and writing".into()),
            ),
        ],
        met: &[
            "device = \"/dev/kvm\"",
            "virt = \"kvm\"",
            "module = \"kvm-pvm\"",
            "not(kvm)",
        ],
        unmet: &["kvm", "cpu_feature = \"vmx\""],
        undetermined: &[],
        ..MadeUp::new(
            "a nested host whose KVM interprets",
            "6.18.44-fc-v657",
            "#1 SMP",
        )
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
