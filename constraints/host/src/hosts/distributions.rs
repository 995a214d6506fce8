//! Ordinary installations of well-known distributions.

use super::made_up::{INITIAL_PID, INITIAL_USER, MadeUp, TMPFS};
use crate::facts::{Finding, measured_kvm};

const ROOT_STATUS: &str = "Name:\tcargo\nUid:\t0\t0\t0\t0\nCapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\n\
    CapEff:\t000001ffffffffff\nCapBnd:\t000001ffffffffff\nNoNewPrivs:\t0\nSeccomp:\t0\n";
const USER_STATUS: &str = "Name:\tcargo\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
const CPUINFO: &str = "processor\t: 0\nflags\t\t: fpu vme sse4_2 avx2 vmx\n\nprocessor\t: 1\nflags\t\t: fpu vme sse4_2 avx2 vmx\n";
const MEMINFO: &str =
    "MemTotal:       16303636 kB\nMemFree:         1234567 kB\nMemAvailable:    8388608 kB\n";

pub(super) fn hosts() -> Vec<MadeUp> {
    vec![
        debian(),
        ubuntu(),
        rhel(),
        fedora(),
        arch(),
        opensuse(),
        centos_stream(),
        rocky(),
    ]
}

/// A host route and a default route.
const ROUTES: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
     eth1\t00000000\t00000000\t0001\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n\
     eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";

fn is(text: &str) -> Finding {
    Finding::Is(text.to_owned())
}

fn debian() -> MadeUp {
    MadeUp {
        uid: 0,
        files: vec![
            (
                "/etc/os-release",
                "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n",
            ),
            ("/proc/thread-self/status", ROOT_STATUS),
            ("/proc/sys/kernel/cap_last_cap", "40\n"),
            ("/proc/cpuinfo", CPUINFO),
            ("/proc/meminfo", MEMINFO),
            (
                "/proc/cmdline",
                "BOOT_IMAGE=/vmlinuz ro quiet isolcpus=1,3\n",
            ),
            ("/proc/net/route", ROUTES),
            ("/sys/devices/system/node/online", "0-1,3\n"),
            (
                "/proc/self/cgroup",
                "0::/user.slice/user-0.slice/session-1.scope\n",
            ),
            (
                "/sys/fs/cgroup/user.slice/user-0.slice/session-1.scope/cgroup.controllers",
                "memory pids\n",
            ),
            ("/sys/module/kvm/parameters/halt_poll_ns", "200000\n"),
            (
                "/lib/modules/6.1.0-18-amd64/modules.builtin",
                "kernel/fs/ext4/ext4.ko\nkernel/drivers/tty/serial/8250/8250-base.ko\n",
            ),
            (
                "/lib/modules/6.1.0-18-amd64/modules.dep",
                "kernel/drivers/vhost/vhost-net.ko: kernel/drivers/vhost/vhost.ko\n",
            ),
            (
                "/boot/config-6.1.0-18-amd64",
                "# Linux/x86 6.1.76 Kernel Configuration\nCONFIG_USER_NS=y\nCONFIG_KVM_INTEL=m\nCONFIG_HZ=250\n# CONFIG_KVM_XEN is not set\n",
            ),
            ("/sys/class/dmi/id/sys_vendor", "Dell Inc.\n"),
        ],
        links: &[INITIAL_USER, INITIAL_PID],
        env: &[
            ("CI", "true"),
            ("EMPTY", ""),
            ("KATA_TEST_ALLOW", "slow, big"),
        ],
        probes: vec![
            ("kvm", is("a guest's instructions have the right effects")),
            ("kvm speed", is(&measured_kvm(55))),
            ("kvm capabilities", is("0-4 7 32 36-38")),
            ("command qemu-img", is("/usr/bin/qemu-img")),
            ("command version qemu-img", is("7.2.22")),
            ("command broken", is("/usr/bin/broken")),
            (
                "command version broken",
                Finding::Unknown(
                    "/usr/bin/broken is there, but --version left with exit code 127".into(),
                ),
            ),
            (
                "command absent",
                Finding::Absent("no executable file absent found".into()),
            ),
            (
                "device /dev/vhost-vsock",
                is("it opens for reading and writing"),
            ),
            ("namespace time", is("one could be created")),
            ("isolated network", is("one could be created")),
        ],
        met: &[
            "root",
            "uid = 0",
            "real_root",
            "caps(\"CAP_SYS_ADMIN\", \"CAP_CHECKPOINT_RESTORE\")",
            "kernel_ge = \"6.1\"",
            "kernel_ge = \"6.1.0\"",
            "kernel = \">= 5.10, < 6.9\"",
            "kernel_eq = \"6.1.0-18-amd64\"",
            "vendor_kernel = \"debian >= 6.1.0-18\"",
            "any(kernel_ge = \"6.3\", vendor_kernel = \"debian >= 6.1.0-18\")",
            "kvm",
            "kvm_hardware",
            "kvm_cap(\"KVM_CAP_IRQFD\", \"KVM_CAP_USER_MEMORY\")",
            "kvm_vendor = \"intel\"",
            "command = \"qemu-img\"",
            "command = \"qemu-img >= 7.2, < 8\"",
            "command = \"qemu-img = 7\"",
            "command = \"broken\"",
            "device = \"/dev/vhost-vsock\"",
            "module = \"kvm\"",
            "module = \"ext4\"",
            "module = \"8250-base\"",
            "kconfig = \"CONFIG_USER_NS=y\", any(kconfig = \"CONFIG_KVM_INTEL\", kconfig = \"CONFIG_KVM_AMD\")",
            "kconfig(\"CONFIG_KVM_XEN=n\", \"CONFIG_HZ=250\"), not(kconfig = \"CONFIG_NOWHERE\")",
            "cgroup = \"v2\"",
            "cgroup_controller = \"memory\"",
            "namespace = \"time\"",
            "isolated_network",
            "arch = \"x86_64\"",
            "distro = \"debian\"",
            "distro = \"debian >= 12\"",
            "distro = \"debian = 12\"",
            "distro_like = \"debian\"",
            "not(container)",
            "virt = \"none\"",
            "cpus_ge = 8",
            "numa_nodes_ge = 3",
            "kernel_arg(\"isolcpus=1,3\", \"ro\")",
            "network = \"user\"",
            "mem_available_ge = \"8GiB\"",
            "disk_free_ge = \"20GiB\"",
            "cpu_feature = \"avx2\"",
            "env = \"CI\"",
            "env = \"CI=true\"",
            "opt_in = \"slow\"",
            "opt_in = \"big\"",
            "any(arch = \"aarch64\", not(container))",
        ],
        unmet: &[
            "non_root",
            "uid = 1",
            "not(real_root)",
            "kernel_gt = \"6.1\"",
            "numa_nodes_ge = 4",
            "kernel_arg = \"isolcpus\"",
            "any(kernel_ge = \"6.3\", vendor_kernel = \"rhel9 >= 5.14.0-441\")",
            "any(kernel_ge = \"6.3\", vendor_kernel = \"debian >= 6.1.0-20\")",
            "kernel_lt = \"6.0\", any(kernel_ge = \"6.3\", vendor_kernel = \"debian >= 6.1.0-18\")",
            "kernel_ge = \"6.3\", vendor_kernel = \"debian >= 6.1.0-18\"",
            "command = \"qemu-img >= 8.0\"",
            "command = \"absent >= 1\"",
            "module = \"vhost_net\"",
            "module = \"nowhere\"",
            "kconfig = \"CONFIG_KVM_XEN\"",
            "cgroup = \"v1\"",
            "cgroup_controller = \"cpuset\"",
            "arch = \"aarch64\"",
            "distro = \"ubuntu >= 22.04\"",
            "distro = \"debian >= 13\"",
            "distro_like = \"rhel\"",
            "container",
            "virt = \"kvm\"",
            "kvm_cap = \"KVM_CAP_GUEST_MEMFD\"",
            "kvm_vendor = \"amd\"",
            "cpus_ge = 9",
            "mem_available_ge = \"9GiB\"",
            "disk_free_ge = \"1TiB\"",
            "cpu_feature = \"avx512f\"",
            "env = \"CI=false\"",
            "env = \"EMPTY\"",
            "env = \"NOT_SET\"",
            "opt_in = \"destructive\"",
            "any(container, virt = \"kvm\")",
            "not(all(root, kvm))",
            "root, non_root, container",
        ],
        undetermined: &[
            "command = \"broken >= 1\"",
            "distro = \"debian >= 12.4\"",
            "namespace = \"user\"",
        ],
        ..MadeUp::new(
            "Debian 12, as root",
            "6.1.0-18-amd64",
            "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)",
        )
    }
}

fn ubuntu() -> MadeUp {
    MadeUp {
        files: vec![
            ("/etc/os-release", "PRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nID_LIKE=debian\n"),
            ("/usr/lib/os-release", "ID=other\n"),
            ("/proc/thread-self/status", USER_STATUS),
            ("/proc/cpuinfo", CPUINFO),
            ("/proc/meminfo", MEMINFO),
            ("/proc/self/cgroup", "0::/user.slice/run-1.scope\n"),
            ("/sys/fs/cgroup/user.slice/run-1.scope/cgroup.controllers", ""),
            ("/sys/fs/cgroup/user.slice/memory.max", "1073741824\n"),
            ("/sys/fs/cgroup/user.slice/memory.current", "536870912\n"),
            ("/sys/fs/cgroup/user.slice/run-1.scope/memory.max", "max\n"),
            ("/sys/class/dmi/id/sys_vendor", "Amazon EC2\n"),
        ],
        links: &[INITIAL_USER, INITIAL_PID],
        signature: "KVMKVMKVM",
        probes: vec![
            ("kvm", Finding::Absent("opening /dev/kvm: EACCES, this user has no permission".into())),
            ("namespace user", Finding::Absent("one could be created, but without any capability in it: EPERM, operation not permitted".into())),
        ],
        met: &[
            "non_root", "kernel_ge = \"6.8\"", "kernel_ge = \"6.8.0-40\"", "kernel_lt = \"6.8.0-50\"",
            "vendor_kernel = \"ubuntu >= 6.8.0-45\"", "distro = \"ubuntu >= 22.4\"", "distro = \"ubuntu >= 22.04, < 24.10\"",
            "distro_like = \"debian\"", "virt = \"kvm\"", "mem_available_ge = \"512MiB\"", "not(root)",
        ],
        unmet: &[
            "root", "real_root", "caps = \"CAP_NET_ADMIN\"", "distro = \"debian\"", "distro = \"ubuntu < 24.04\"",
            "kvm", "namespace = \"user\"", "cgroup_controller = \"memory\"", "mem_available_ge = \"1GiB\"", "virt = \"none\"",
            "opt_in = \"slow\"", "kernel_gt = \"6.8\"",
        ],
        undetermined: &["kconfig = \"CONFIG_KVM\"", "module = \"kvm\""],
        ..MadeUp::new("Ubuntu 24.04, as a user, on KVM", "6.8.0-45-generic", "#45-Ubuntu SMP PREEMPT_DYNAMIC Fri Aug 30 12:02:04 UTC 2024")
    }
}

fn rhel() -> MadeUp {
    MadeUp {
        uid: 0,
        files: vec![
            (
                "/etc/os-release",
                "NAME=\"Red Hat Enterprise Linux\"\nVERSION=\"9.4 (Plow)\"\nID=\"rhel\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"9.4\"\n",
            ),
            ("/proc/thread-self/status", ROOT_STATUS),
        ],
        links: &[INITIAL_USER, INITIAL_PID],
        signature: "VMwareVMware",
        met: &[
            "vendor_kernel(\"rhel9 >= 5.14.0-427\")",
            "any(kernel_ge = \"6.3\", vendor_kernel = \"rhel9 >= 5.14.0-427\", vendor_kernel = \"rhel8 >= 4.18.0-553\")",
            "all(kernel_ge = \"5.14\", vendor_kernel = \"rhel9 >= 5.14.0-427\")",
            "not(any(kernel_ge = \"6.3\", vendor_kernel = \"rhel9 >= 5.14.0-441\"))",
            "any(kernel_ge = \"5.14\", vendor_kernel = \"rhel9 >= 5.14.0-441\")",
            "distro = \"rhel >= 9.2\"",
            "distro_like = \"fedora\"",
            "virt = \"vmware\"",
            "kernel_lt = \"5.14.0-427.13.1\"",
        ],
        unmet: &[
            "any(kernel_ge = \"6.3\", vendor_kernel = \"rhel9 >= 5.14.0-441\")",
            "vendor_kernel(\"rhel8 >= 4.18.0-553\")",
            "vendor_kernel(\"fedora40 >= 5\")",
            "distro = \"rhel >= 9.5\"",
            "distro = \"fedora\"",
        ],
        undetermined: &["kernel_ge = \"5.14.0-fc40\""],
        ..MadeUp::new(
            "RHEL 9",
            "5.14.0-427.el9.x86_64",
            "#1 SMP PREEMPT_DYNAMIC Fri Feb 23 01:51:18 EST 2024",
        )
    }
}

fn fedora() -> MadeUp {
    MadeUp {
        files: vec![
            (
                "/usr/lib/os-release",
                "NAME=\"Fedora Linux\"\nVERSION=\"40 (Workstation Edition)\"\nID=fedora\nVERSION_ID=40\nPLATFORM_ID=\"platform:f40\"\n",
            ),
            (
                "/lib/modules/6.8.5-301.fc40.x86_64/config",
                "CONFIG_KVM=m\n",
            ),
        ],
        links: &[INITIAL_USER, INITIAL_PID],
        met: &[
            "distro = \"fedora >= 40\"",
            "vendor_kernel(\"fedora40 >= 6.8.5-300\")",
            "kconfig = \"CONFIG_KVM=m\"",
            "kernel_gt = \"6.8.4\"",
        ],
        unmet: &[
            "distro_like = \"rhel\"",
            "distro = \"fedora > 40\"",
            "vendor_kernel(\"rhel9 >= 5.14\")",
            "kconfig = \"CONFIG_KVM=y\"",
        ],
        undetermined: &[
            "caps = \"CAP_KILL\"",
            "mem_available_ge = \"1GiB\"",
            "cpu_feature = \"avx2\"",
        ],
        ..MadeUp::new(
            "Fedora 40",
            "6.8.5-301.fc40.x86_64",
            "#1 SMP PREEMPT_DYNAMIC Thu Apr 11 20:00:10 UTC 2024",
        )
    }
}

fn arch() -> MadeUp {
    MadeUp {
        files: vec![(
            "/etc/os-release",
            "NAME=\"Arch Linux\"\nID=arch\nBUILD_ID=rolling\nHOME_URL='https://archlinux.org/'\n",
        )],
        links: &[INITIAL_USER, INITIAL_PID],
        signature: "KVMKVMKVM",
        met: &[
            "distro = \"arch\"",
            "kernel_ge = \"6.10.2\"",
            "virt = \"kvm\"",
        ],
        unmet: &["distro = \"debian >= 12\"", "distro_like = \"debian\""],
        undetermined: &[
            "distro = \"arch >= 1\"",
            "not(distro = \"arch >= 1\")",
            "any(distro = \"arch >= 1\", distro = \"debian\")",
        ],
        ..MadeUp::new(
            "Arch, without a version",
            "6.10.2-arch1-1",
            "#1 SMP PREEMPT_DYNAMIC Sat, 27 Jul 2024 16:49:55 +0000",
        )
    }
}

fn opensuse() -> MadeUp {
    MadeUp {
        files: vec![
            (
                "/etc/os-release",
                "NAME=\"openSUSE Leap\"\nVERSION=\"15.6\"\nID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\nVERSION_ID=\"15.6\"\n",
            ),
            (
                "/proc/self/cgroup",
                "12:memory:/user.slice\n5:cpu,cpuacct:/\n1:name=systemd:/user.slice\n0::/user.slice\n",
            ),
            (
                "/sys/fs/cgroup/memory/user.slice/memory.limit_in_bytes",
                "104857600\n",
            ),
            (
                "/sys/fs/cgroup/memory/user.slice/memory.usage_in_bytes",
                "52428800\n",
            ),
            ("/proc/meminfo", MEMINFO),
        ],
        links: &[INITIAL_USER, INITIAL_PID],
        cgroup: TMPFS,
        met: &[
            "distro = \"opensuse-leap >= 15.6\"",
            "distro_like = \"suse\"",
            "distro_like = \"opensuse\"",
            "cgroup = \"v1\"",
            "cgroup_controller = \"cpuacct\"",
            "kernel_eq = \"6.4.0\"",
            "mem_available_ge = \"50MiB\"",
        ],
        unmet: &[
            "cgroup = \"v2\"",
            "cgroup_controller = \"io\"",
            "mem_available_ge = \"51MiB\"",
        ],
        undetermined: &[],
        ..MadeUp::new(
            "openSUSE Leap 15.6",
            "6.4.0-150600.23.17-default",
            "#1 SMP PREEMPT_DYNAMIC Tue Jul 30 06:37:32 UTC 2024",
        )
    }
}

fn centos_stream() -> MadeUp {
    MadeUp {
        files: vec![(
            "/etc/os-release",
            "NAME=\"CentOS Stream\"\nVERSION=\"9\"\nID=\"centos\"\nID_LIKE=\"rhel fedora\"\nVERSION_ID=\"9\"\n",
        )],
        links: &[INITIAL_USER, INITIAL_PID],
        met: &[
            "distro = \"centos >= 9\"",
            "distro_like = \"rhel\"",
            "distro = \"centos < 10.1\"",
        ],
        unmet: &["distro = \"centos < 9\"", "distro = \"rhel\""],
        undetermined: &["distro = \"centos >= 9.2\""],
        ..MadeUp::new("CentOS Stream 9", "5.14.0-503.el9.x86_64", "#1 SMP")
    }
}

fn rocky() -> MadeUp {
    MadeUp {
        files: vec![(
            "/etc/os-release",
            "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\n",
        )],
        links: &[INITIAL_USER, INITIAL_PID],
        met: &[
            "distro_like = \"rhel\"",
            "distro = \"rocky = 9.4\"",
            "vendor_kernel(\"rhel9 >= 5.14.0-427\")",
        ],
        unmet: &["distro = \"rhel\""],
        ..MadeUp::new("Rocky 9.4", "5.14.0-427.13.1.el9_4.x86_64", "#1 SMP")
    }
}
