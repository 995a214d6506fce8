//! Atoms: constraints without operators. Each file has one subject: it parses values, formats them for
//! reasons, and evaluates them on a host's answers.

pub(crate) mod cgroup;
pub(crate) mod command;
pub(crate) mod cpu;
pub(crate) mod device;
pub(crate) mod distro;
pub(crate) mod env;
pub(crate) mod kconfig;
pub(crate) mod kernel_arg;
pub(crate) mod kvm;
pub(crate) mod module;
pub(crate) mod namespace;
pub(crate) mod network;
pub(crate) mod size;
pub(crate) mod user;
pub(crate) mod vendor;
pub(crate) mod virt;

use std::fmt;

use super::range::Range;
use super::text::cut;
use crate::facts::Probe;
use size::Size;
use user::Capability;
use vendor::Vendor;

/// A constraint without operators, such as `root` or `kernel >= 6.1`. Its text, as in reasons, is
/// made by `Display`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Atom(pub(crate) Kind);

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What has a name, possibly of certain versions: `qemu-img >= 8.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Versioned {
    pub(crate) name: &'static str,
    pub(crate) versions: Option<Range>,
}

impl fmt::Display for Versioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.versions {
            Some(versions) => write!(f, "{} {versions}", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// What has a value, possibly a certain one: `CI=true`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) value: Option<&'static str>,
}

impl Setting {
    /// Splits a text at its first `=`.
    pub(crate) const fn split(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        let mut end = 0;
        while end < bytes.len() && bytes[end] != b'=' {
            end += 1;
        }
        Self {
            name: cut(text, 0, end),
            value: if end == bytes.len() {
                None
            } else {
                Some(cut(text, end + 1, bytes.len()))
            },
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => write!(f, "{}={value}", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// What an atom requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The effective uid is 0.
    Root,
    /// The effective uid is 0, and that of a user namespace suffices.
    RootInUserns,
    /// The effective uid is not 0.
    NonRoot,
    /// The effective uid is this.
    Uid(u32),
    /// The effective uid is 0 in the initial user namespace.
    RealRoot,
    /// This thread has the capability in its effective set.
    Cap(Capability),
    /// The running kernel's version is in that range.
    Kernel(Range),
    /// The running kernel is that vendor's, and its version is in that range.
    VendorKernel(Vendor),
    /// KVM works.
    Kvm,
    /// KVM works at the speed of hardware.
    KvmHardware,
    /// KVM works and has a capability.
    KvmCap(kvm::Capability),
    /// KVM works and uses that vendor's virtualization.
    KvmVendor(&'static str),
    /// An executable file of this name on PATH.
    Command(Versioned),
    /// A device node that can be opened for reading and writing.
    Device(&'static str),
    /// A kernel module that is loaded or built in.
    Module(&'static str),
    /// A symbol of the kernel's configuration is set, or has a value.
    Kconfig(Setting),
    /// An argument of the running kernel.
    KernelArg(&'static str),
    /// The cgroup hierarchy is of this version.
    Cgroup(&'static str),
    /// A cgroup controller that this process's group has.
    CgroupController(&'static str),
    /// A kind of namespace that can be created.
    Namespace(&'static str),
    /// A route to other hosts.
    Network(&'static str),
    /// A network namespace of the test's own.
    IsolatedNetwork,
    /// The architecture that this program was compiled for.
    Arch(&'static str),
    /// The distribution.
    Distro(Versioned),
    /// The distribution, or one that it is like.
    DistroLike(&'static str),
    /// This process is in a container.
    Container,
    /// The hypervisor that this host runs on.
    Virt(&'static str),
    /// At least so many CPUs.
    CpusGe(u32),
    /// At least so much memory.
    MemAvailableGe(Size),
    /// At least so much room for temporary files.
    DiskFreeGe(Size),
    /// At least so many NUMA nodes.
    NumaNodesGe(u32),
    /// A feature that every CPU has.
    CpuFeature(&'static str),
    /// An environment variable.
    Env(Setting),
    /// An opt-in.
    OptIn(&'static str),
    /// The user's function returns met.
    When(Probe),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::RootInUserns => f.write_str("root_in_userns"),
            Self::NonRoot => f.write_str("non_root"),
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::RealRoot => f.write_str("real_root"),
            Self::Cap(capability) => f.write_str(capability.name()),
            Self::Kernel(range) => write!(f, "kernel {range}"),
            Self::VendorKernel(vendor) => vendor.fmt(f),
            Self::Kvm => f.write_str("kvm"),
            Self::KvmHardware => f.write_str("kvm_hardware"),
            Self::KvmCap(capability) => write!(f, "kvm_cap {}", capability.name()),
            Self::KvmVendor(name) => write!(f, "kvm_vendor {name}"),
            Self::Command(command) => write!(f, "command {command}"),
            Self::Device(path) => write!(f, "device {path}"),
            Self::Module(name) => write!(f, "module {name}"),
            Self::Kconfig(symbol) => write!(f, "kconfig {symbol}"),
            Self::KernelArg(argument) => write!(f, "kernel_arg {argument}"),
            Self::Cgroup(version) => write!(f, "cgroup {version}"),
            Self::CgroupController(name) => write!(f, "cgroup_controller {name}"),
            Self::Namespace(kind) => write!(f, "namespace {kind}"),
            Self::Network(kind) => write!(f, "network {kind}"),
            Self::IsolatedNetwork => f.write_str("isolated_network"),
            Self::Arch(name) => write!(f, "arch {name}"),
            Self::Distro(distro) => write!(f, "distro {distro}"),
            Self::DistroLike(id) => write!(f, "distro_like {id}"),
            Self::Container => f.write_str("container"),
            Self::Virt(kind) => write!(f, "virt {kind}"),
            Self::CpusGe(count) => write!(f, "cpus >= {count}"),
            Self::MemAvailableGe(size) => write!(f, "mem_available >= {size}"),
            Self::DiskFreeGe(size) => write!(f, "disk_free >= {size}"),
            Self::NumaNodesGe(count) => write!(f, "numa_nodes >= {count}"),
            Self::CpuFeature(name) => write!(f, "cpu_feature {name}"),
            Self::Env(variable) => write!(f, "env {variable}"),
            Self::OptIn(name) => write!(f, "opt_in {name}"),
            Self::When(probe) => write!(f, "when {}", probe.name),
        }
    }
}
