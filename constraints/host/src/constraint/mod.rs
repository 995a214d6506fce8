//! What a test asks of the place it runs in: a tree, built at compile time, that never looks at the
//! host itself.
//!
//! The constructors parse their literals while the test is being compiled and panic on a bad one,
//! so a mistyped name or version is an error of rustc at the user's own line. [`TABLE`] lists them.

mod agree;
mod asked;
mod judge;
pub mod kernel;
mod nearest;
mod need;
mod operator;
mod parse;
mod table;
mod text;

use std::fmt;

pub use crate::facts::Probe;
use crate::names::Names;
use kernel::Range;
#[cfg(test)]
pub(crate) use need::namespace::NAMESPACES;
pub use need::{Capability, Device, Distro, Kconfig, Size, Tool, Variable, Vendor, Versions};

#[doc(hidden)]
pub use agree::agree;
#[doc(hidden)]
pub use nearest::nearest;
#[doc(hidden)]
pub use parse::keep;
pub use parse::{ParseError, parse, suggest};
pub use table::*;

pub use judge::{Judgement, Standing, judge};

/// A tree of needs.
#[expect(
    clippy::large_enum_variant,
    reason = "a constant cannot be boxed, and these live in read-only data"
)]
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Constraint {
    /// One need.
    Atom(Atom),
    /// Every one of them.
    All(&'static [Constraint]),
    /// At least one of them.
    Any(&'static [Constraint]),
    /// The opposite.
    Not(&'static Constraint),
}

/// One need. Its text, as it stands in reasons, is made by `Display`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Atom {
    /// The effective uid is 0.
    Root,
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
    /// A KVM that runs guests at the speed of hardware.
    Kvm,
    /// An executable file of this name on PATH.
    Command(Tool),
    /// A device node that can be opened for reading and writing.
    Device(Device),
    /// A kernel module that is loaded or built in.
    Module(&'static str),
    /// An expression over the kernel's configuration holds.
    Kconfig(Kconfig),
    /// The cgroup hierarchy is of this version.
    Cgroup(&'static str),
    /// A cgroup controller that this process's group has.
    CgroupController(&'static str),
    /// A kind of namespace that can be created.
    Namespace(&'static str),
    /// The architecture that this program was compiled for.
    Arch(&'static str),
    /// The distribution.
    Distro(Distro),
    /// The distribution, or one that it is like.
    DistroLike(&'static str),
    /// This process is in a container.
    Container,
    /// The hypervisor beneath this host.
    Virt(&'static str),
    /// At least so many CPUs.
    CpusGe(u32),
    /// At least so much memory.
    MemAvailableGe(Size),
    /// At least so much room for temporary files.
    DiskFreeGe(Size),
    /// A feature that every CPU has.
    CpuFeature(&'static str),
    /// An environment variable.
    Env(Variable),
    /// Something that the user has to allow.
    OptIn(&'static str),
    /// What the user's own function says.
    When(Probe),
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::NonRoot => f.write_str("non_root"),
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::RealRoot => f.write_str("real_root"),
            Self::Cap(capability) => f.write_str(capability.name()),
            Self::Kernel(range) => write!(f, "kernel {range}"),
            Self::VendorKernel(vendor) => vendor.fmt(f),
            Self::Kvm => f.write_str("kvm"),
            Self::Command(tool) => tool.fmt(f),
            Self::Device(Device(path)) => write!(f, "device {path}"),
            Self::Module(name) => write!(f, "module {name}"),
            Self::Kconfig(kconfig) => kconfig.fmt(f),
            Self::Cgroup(version) => write!(f, "cgroup {version}"),
            Self::CgroupController(name) => write!(f, "cgroup_controller {name}"),
            Self::Namespace(kind) => write!(f, "namespace {kind}"),
            Self::Arch(name) => write!(f, "arch {name}"),
            Self::Distro(distro) => distro.fmt(f),
            Self::DistroLike(id) => write!(f, "distro_like {id}"),
            Self::Container => f.write_str("container"),
            Self::Virt(kind) => write!(f, "virt {kind}"),
            Self::CpusGe(count) => write!(f, "cpus >= {count}"),
            Self::MemAvailableGe(size) => write!(f, "mem_available >= {size}"),
            Self::DiskFreeGe(size) => write!(f, "disk_free >= {size}"),
            Self::CpuFeature(name) => write!(f, "cpu_feature {name}"),
            Self::Env(variable) => variable.fmt(f),
            Self::OptIn(name) => write!(f, "opt_in {name}"),
            Self::When(probe) => write!(f, "when {}", probe.name),
        }
    }
}

impl Constraint {
    /// Collects the names of opt-ins, at whatever depth.
    #[doc(hidden)]
    pub fn opt_ins(&self, names: &mut Names<'static>) {
        match self {
            Self::Atom(Atom::OptIn(name)) => {
                names.insert(name);
            }
            Self::Atom(_) => {}
            Self::All(of) | Self::Any(of) => of.iter().for_each(|one| one.opt_ins(names)),
            Self::Not(of) => of.opt_ins(names),
        }
    }

    /// Collects what the reasons of a skip can be called: the atoms, and the groups that they make.
    #[doc(hidden)]
    pub fn reason_names(&self, names: &mut Names<'static>) {
        self.negated_names(&|name| name, names);
    }

    fn negated_names(&self, negate: &dyn Fn(String) -> String, names: &mut Names<'static>) {
        match self {
            Self::Atom(atom) => {
                names.insert(keep(&negate(atom.to_string())));
            }
            Self::All(of) | Self::Any(of) => {
                names.insert(keep(&negate(self.to_string())));
                of.iter().for_each(|one| one.negated_names(negate, names));
            }
            Self::Not(of) => of.negated_names(&|name| negate(format!("not({name})")), names),
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, name: &str, of: &[Constraint]| {
            write!(f, "{name}(")?;
            for (index, constraint) in of.iter().enumerate() {
                let comma = if index == 0 { "" } else { ", " };
                write!(f, "{comma}{constraint}")?;
            }
            f.write_str(")")
        };
        match self {
            Self::Atom(atom) => atom.fmt(f),
            Self::All(of) => list(f, "all", of),
            Self::Any(of) => list(f, "any", of),
            Self::Not(of) => write!(f, "not({of})"),
        }
    }
}
