//! Hosts that are less than they seem.

use super::made_up::{INITIAL_PID, INITIAL_USER, MadeUp, TMPFS};
use crate::facts::Finding;

const FULL_STATUS: &str = "CapEff:\t000001ffffffffff\nNoNewPrivs:\t0\nSeccomp:\t2\n";

pub(super) fn hosts() -> Vec<MadeUp> {
    vec![
        user_namespace(),
        no_namespace_links(),
        wsl(),
        wsl1(),
        gvisor(),
        masked(),
        systemd_nspawn(),
        old_kernel(),
        limited_memory(),
        limited_memory_v1(),
        moved_out_of_its_cgroup_namespace(),
        moved_out_of_its_cgroup_namespace_v1(),
    ]
}

fn user_namespace() -> MadeUp {
    MadeUp {
        uid: 0,
        files: vec![
            ("/etc/os-release", "ID=alpine\nVERSION_ID=3.20.2\n"),
            ("/run/.containerenv", ""),
            ("/proc/self/uid_map", "         0          0 4294967295\n"),
            ("/proc/thread-self/status", FULL_STATUS),
            ("/proc/sys/kernel/cap_last_cap", "40\n"),
        ],
        links: &[
            ("/proc/self/ns/user", "user:[4026532177]"),
            ("/proc/self/ns/pid", "pid:[4026532180]"),
        ],
        probes: vec![
            (
                "device /dev/kvm",
                Finding::Absent(
                    "opening /dev/kvm: EPERM, a cgroup or a security module forbids it".into(),
                ),
            ),
            ("namespace mnt", Finding::Is("one could be created".into())),
        ],
        met: &[
            "root",
            "caps = \"CAP_SYS_ADMIN\"",
            "container",
            "namespace = \"mnt\"",
            "distro = \"alpine >= 3.20\"",
            "distro = \"alpine < 3.20.3\"",
            "not(real_root)",
        ],
        unmet: &["real_root", "not(container)", "device = \"/dev/kvm\""],
        undetermined: &["kconfig = \"CONFIG_KVM=y\""],
        ..MadeUp::new(
            "a container as root in a user namespace",
            "6.1.0-18-amd64",
            "#1 SMP",
        )
    }
}

fn no_namespace_links() -> MadeUp {
    MadeUp {
        uid: 0,
        files: vec![
            ("/proc/self/uid_map", "         0     100000      65536\n"),
            ("/proc/thread-self/status", "Name:\tx\n"),
            ("/.dockerenv", ""),
        ],
        denied: &["/proc/self/ns"],
        met: &["container"],
        unmet: &["real_root"],
        undetermined: &["caps = \"CAP_SYS_ADMIN\""],
        ..MadeUp::new(
            "a container with a map of uids and no links",
            "5.15.0",
            "#1 SMP",
        )
    }
}

fn wsl() -> MadeUp {
    MadeUp {
        files: vec![("/etc/os-release", "ID=ubuntu\nVERSION_ID=\"22.04\"\n")],
        links: &[INITIAL_USER, INITIAL_PID],
        signature: "Microsoft Hv",
        met: &[
            "kernel_eq = \"5.10.16\"",
            "kernel_lt = \"5.10.16.4\"",
            "container",
            "virt = \"microsoft\"",
            "distro = \"ubuntu >= 22.04\"",
            "kernel_ge = \"5.10.16.3\"",
        ],
        unmet: &[
            "kernel_ge = \"5.10.17\"",
            "not(container)",
            "vendor_kernel(\"ubuntu >= 5.10\")",
        ],
        undetermined: &["kernel_ge = \"5.10.16-300\""],
        ..MadeUp::new(
            "WSL2",
            "5.10.16.3-microsoft-standard-WSL2",
            "#1 SMP Fri Apr 2 22:23:49 UTC 2021",
        )
    }
}

fn wsl1() -> MadeUp {
    MadeUp {
        links: &[INITIAL_USER, INITIAL_PID],
        met: &["container", "kernel_eq = \"4.4.0\""],
        unmet: &["not(container)"],
        ..MadeUp::new(
            "WSL1",
            "4.4.0-19041-Microsoft",
            "#1237-Microsoft Sat Sep 11 14:32:00 PST 2021",
        )
    }
}

fn gvisor() -> MadeUp {
    MadeUp {
        uid: 0,
        files: vec![
            ("/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
            ("/proc/thread-self/status", "CapEff:\t00000000a80425fb\n"),
            ("/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu avx2\n"),
            ("/proc/self/cgroup", "1:memory:/\n"),
            ("/proc/net/route", "Iface\tDestination\tGateway\n"),
            (
                "/proc/net/ipv6_route",
                "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n",
            ),
        ],
        links: &[
            ("/proc/self/ns/user", "user:[1]"),
            ("/proc/self/ns/pid", "pid:[1]"),
        ],
        cgroup: TMPFS,
        met: &[
            "container",
            "kernel_ge = \"4.19\"",
            "caps = \"CAP_CHOWN\"",
            "cgroup_controller = \"memory\"",
            "cpu_feature = \"avx2\"",
        ],
        unmet: &[
            "real_root",
            "caps(\"CAP_SYS_ADMIN\")",
            "not(container)",
            "kernel_ge = \"5.0\"",
            "network = \"user\"",
            "numa_nodes_ge = 2",
        ],
        undetermined: &[
            "module = \"kvm\"",
            "kconfig = \"CONFIG_KVM=y\"",
            "mem_available_ge = \"1MiB\"",
        ],
        ..MadeUp::new(
            "gVisor",
            "4.19.0-gvisor",
            "#1 SMP Sun Jan 10 15:06:54 PST 2016",
        )
    }
}

fn masked() -> MadeUp {
    MadeUp {
        uid: 0,
        files: vec![
            ("/etc/os-release", "NAME=nothing\n"),
            ("/sys/module/kvm/refcnt", "0\n"),
            ("/sys/fs/cgroup/cgroup.controllers", "memory\n"),
            ("/proc/meminfo", ""),
            ("/proc/config.gz", ""),
        ],
        denied: &["/proc"],
        met: &[
            "root",
            "cgroup = \"v2\"",
            "module = \"kvm\"",
            "distro = \"linux\"",
        ],
        unmet: &["distro = \"debian\""],
        undetermined: &[
            "real_root",
            "caps = \"CAP_SYS_ADMIN\"",
            "cgroup_controller = \"memory\"",
            "mem_available_ge = \"1MiB\"",
            "cpu_feature = \"avx2\"",
            "container",
            "not(container)",
            "kconfig = \"CONFIG_KVM=y\"",
            "module = \"vhost_net\"",
            "kernel_ge = \"5.0\"",
            "real_root, kernel_ge = \"5.0\"",
            "distro = \"linux >= 1\"",
        ],
        ..MadeUp::new(
            "a masked /proc and a kernel without a version",
            "custom",
            "#1 SMP",
        )
    }
}

fn systemd_nspawn() -> MadeUp {
    MadeUp {
        uid: 0,
        files: vec![
            ("/run/systemd/container", "systemd-nspawn\n"),
            ("/proc/config.gz", "CONFIG_KVM=y\n"),
        ],
        links: &[INITIAL_USER],
        met: &["container", "real_root", "kconfig = \"CONFIG_KVM\""],
        unmet: &["not(container)"],
        undetermined: &["distro = \"debian\"", "distro_like = \"debian\""],
        ..MadeUp::new(
            "a systemd-nspawn container without os-release",
            "6.8.0-rc3+",
            "#1 SMP",
        )
    }
}

fn old_kernel() -> MadeUp {
    MadeUp {
        files: vec![
            ("/proc/thread-self/status", "CapEff:\t0000003fffffffff\n"),
            ("/proc/sys/kernel/cap_last_cap", "37\n"),
            ("/proc/config.gz", "garbage"),
        ],
        links: &[INITIAL_USER, INITIAL_PID],
        met: &["caps = \"CAP_AUDIT_READ\"", "kernel_ge = \"4.4.302\""],
        unmet: &["caps = \"CAP_BPF\"", "kernel_ge = \"4.10\""],
        undetermined: &["kconfig = \"CONFIG_KVM\""],
        ..MadeUp::new("a kernel before CAP_BPF", "4.4.302+", "#1 SMP")
    }
}

/// 900 MiB used, of which 300 MiB are inactive page cache, of 1 GiB before the group is throttled.
fn limited_memory() -> MadeUp {
    MadeUp {
        files: vec![
            ("/proc/meminfo", "MemAvailable:    8388608 kB\n"),
            ("/proc/self/cgroup", "0::/job\n"),
            ("/sys/fs/cgroup/job/memory.max", "2147483648\n"),
            ("/sys/fs/cgroup/job/memory.high", "1073741824\n"),
            ("/sys/fs/cgroup/job/memory.current", "943718400\n"),
            (
                "/sys/fs/cgroup/job/memory.stat",
                "anon 600000000\ninactive_file 314572800\nactive_file 20000000\n",
            ),
        ],
        met: &["mem_available_ge = \"424MiB\""],
        unmet: &["mem_available_ge = \"425MiB\""],
        ..MadeUp::new(
            "a group that is throttled, with page cache",
            "6.8.0",
            "#1 SMP",
        )
    }
}

/// 1000 MiB used, of which 500 MiB are inactive page cache, of 1 GiB.
fn limited_memory_v1() -> MadeUp {
    MadeUp {
        files: vec![
            ("/proc/meminfo", "MemAvailable:    8388608 kB\n"),
            ("/proc/self/cgroup", "5:cpu:/\n4:memory:/job\n"),
            (
                "/sys/fs/cgroup/memory/job/memory.limit_in_bytes",
                "1073741824\n",
            ),
            (
                "/sys/fs/cgroup/memory/job/memory.usage_in_bytes",
                "1048576000\n",
            ),
            (
                "/sys/fs/cgroup/memory/job/memory.stat",
                "inactive_file 1\ntotal_inactive_file 524288000\n",
            ),
            // The root of a container's view has no limit of its own.
            (
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            (
                "/sys/fs/cgroup/memory/memory.usage_in_bytes",
                "1048576000\n",
            ),
        ],
        cgroup: TMPFS,
        met: &["mem_available_ge = \"524MiB\""],
        unmet: &["mem_available_ge = \"525MiB\""],
        ..MadeUp::new("cgroup v1 with page cache", "4.18.0", "#1 SMP")
    }
}

fn moved_out_of_its_cgroup_namespace() -> MadeUp {
    MadeUp {
        files: vec![
            ("/proc/meminfo", "MemAvailable:    8388608 kB\n"),
            ("/proc/self/cgroup", "0::/../other\n"),
            ("/sys/fs/cgroup/../other/cgroup.controllers", "memory\n"),
            ("/sys/fs/cgroup/../other/memory.max", "1048576\n"),
            ("/sys/fs/cgroup/../other/memory.current", "0\n"),
        ],
        undetermined: &[
            "cgroup_controller = \"memory\"",
            "mem_available_ge = \"1KiB\"",
        ],
        ..MadeUp::new(
            "a process outside of its cgroup namespace",
            "6.8.0",
            "#1 SMP",
        )
    }
}

fn moved_out_of_its_cgroup_namespace_v1() -> MadeUp {
    MadeUp {
        files: vec![
            ("/proc/meminfo", "MemAvailable:    8388608 kB\n"),
            ("/proc/self/cgroup", "4:memory:/../other\n"),
            (
                "/sys/fs/cgroup/memory/../other/memory.limit_in_bytes",
                "1048576\n",
            ),
            (
                "/sys/fs/cgroup/memory/../other/memory.usage_in_bytes",
                "0\n",
            ),
        ],
        cgroup: TMPFS,
        met: &["cgroup_controller = \"memory\""],
        undetermined: &["mem_available_ge = \"1KiB\""],
        ..MadeUp::new(
            "a process outside of its cgroup v1 namespace",
            "4.18.0",
            "#1 SMP",
        )
    }
}
