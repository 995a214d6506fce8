//! The questions about a host.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::verdict::Verdict;

/// A question about a host. Its text is the key of the answer in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Question {
    /// The effective uid in decimal, by geteuid(2).
    EffectiveUid,
    /// The user namespace of this process: `user:[4026531837]` is the initial one.
    UserNamespace,
    /// The effective capabilities of this thread, and what else restricts it.
    Capabilities,
    /// The kernel's release, by uname(2).
    KernelRelease,
    /// The build of the kernel, uname(2)'s version.
    KernelBuild,
    /// Whether KVM works: a few instructions of a guest have their effects.
    Kvm,
    /// How long one iteration of a loop in a guest of KVM takes.
    KvmSpeed,
    /// The capabilities of KVM, as numbers and ranges of linux/kvm.h: `0-4 7`.
    KvmCapabilities,
    /// Whose virtualization the CPUs have: `intel` or `amd`.
    KvmVendor,
    /// The path of an executable file of this name.
    Command(&'static str),
    /// The version that a command of this name prints.
    CommandVersion(&'static str),
    /// Whether a device node can be opened for reading and writing.
    Device(&'static str),
    /// Whether a kernel module is loaded or built in.
    Module(&'static str),
    /// The value of a symbol of the kernel's configuration; `n` if it is not set.
    Kconfig(&'static str),
    /// Whether the kernel was started with an argument.
    KernelArg(&'static str),
    /// The version of the cgroup hierarchy: `v1` or `v2`.
    Cgroup,
    /// The cgroup controllers that this process can use, separated by spaces.
    CgroupControllers,
    /// Whether a namespace of this kind can be created.
    Namespace(&'static str),
    /// The interface of a default route.
    Network,
    /// Whether a test can get a network namespace of its own.
    IsolatedNetwork,
    /// The architecture that this program was compiled for.
    Arch,
    /// The distribution's id and, if it has one, its version: `ubuntu 22.04`.
    Distro,
    /// The distributions that this one is like, separated by spaces.
    DistroLike,
    /// The kind of container that this process is in.
    Container,
    /// The hypervisor that this host runs on, or `none`.
    Virt,
    /// How many CPUs this process may use.
    Cpus,
    /// How many bytes of memory this process can still get.
    MemAvailable,
    /// How many bytes are free where temporary files go.
    DiskFree,
    /// How many NUMA nodes are online.
    NumaNodes,
    /// Whether every CPU has a feature, by its name in /proc/cpuinfo.
    CpuFeature(&'static str),
    /// The value of an environment variable.
    Env(&'static str),
    /// Whether `KATA_TEST_ALLOW` has this opt-in.
    OptIn(&'static str),
    /// The result of the user's function.
    Probe(Probe),
}

impl Question {
    /// The questions without a parameter of the user, which every host can answer.
    pub const GENERAL: &[Self] = &[
        Self::EffectiveUid,
        Self::UserNamespace,
        Self::Capabilities,
        Self::KernelRelease,
        Self::KernelBuild,
        Self::Arch,
        Self::Distro,
        Self::DistroLike,
        Self::Container,
        Self::Virt,
        Self::Kvm,
        Self::KvmSpeed,
        Self::KvmCapabilities,
        Self::KvmVendor,
        Self::Cgroup,
        Self::CgroupControllers,
        Self::Namespace("user"),
        Self::Namespace("mnt"),
        Self::Namespace("net"),
        Self::Namespace("pid"),
        Self::Namespace("time"),
        Self::Network,
        Self::Cpus,
        Self::MemAvailable,
        Self::DiskFree,
        Self::NumaNodes,
    ];
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, of) = match self {
            Self::EffectiveUid => ("effective uid", ""),
            Self::UserNamespace => ("user namespace", ""),
            Self::Capabilities => ("capabilities", ""),
            Self::KernelRelease => ("kernel release", ""),
            Self::KernelBuild => ("kernel build", ""),
            Self::Kvm => ("kvm", ""),
            Self::KvmSpeed => ("kvm speed", ""),
            Self::KvmCapabilities => ("kvm capabilities", ""),
            Self::KvmVendor => ("kvm vendor", ""),
            Self::Command(name) => ("command", *name),
            Self::CommandVersion(name) => ("command version", *name),
            Self::Device(path) => ("device", *path),
            Self::Module(name) => ("module", *name),
            Self::Kconfig(symbol) => ("kconfig", *symbol),
            Self::KernelArg(argument) => ("kernel argument", *argument),
            Self::Cgroup => ("cgroup", ""),
            Self::CgroupControllers => ("cgroup controllers", ""),
            Self::Namespace(kind) => ("namespace", *kind),
            Self::Network => ("network", ""),
            Self::IsolatedNetwork => ("isolated network", ""),
            Self::Arch => ("arch", ""),
            Self::Distro => ("distro", ""),
            Self::DistroLike => ("distro like", ""),
            Self::Container => ("container", ""),
            Self::Virt => ("virt", ""),
            Self::Cpus => ("cpus", ""),
            Self::MemAvailable => ("memory available", ""),
            Self::DiskFree => ("disk free", ""),
            Self::NumaNodes => ("numa nodes", ""),
            Self::CpuFeature(name) => ("cpu feature", *name),
            Self::Env(name) => ("env", *name),
            Self::OptIn(name) => ("opt-in", *name),
            Self::Probe(probe) => ("probe", probe.name),
        };
        let space = if of.is_empty() { "" } else { " " };
        write!(f, "{name}{space}{of}")
    }
}

impl Hash for Probe {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// A function of the user that decides a constraint.
#[derive(Clone, Copy)]
pub struct Probe {
    /// The function's path, as in the attribute.
    pub name: &'static str,
    /// The function, called in a child process.
    pub run: fn() -> Verdict,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe").field(&self.name).finish()
    }
}

impl PartialEq for Probe {
    /// Compares the addresses too: two modules can each have a `probe`.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && std::ptr::fn_addr_eq(self.run, other.run)
    }
}

impl Eq for Probe {}
