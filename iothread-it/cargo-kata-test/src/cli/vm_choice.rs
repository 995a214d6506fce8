//! Which VM a place is: its kernel, and further arguments of the kernel.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use guest_vm::artifacts::{InvalidKernelChoice, KernelChoice};
use guest_vm::own_kernel::OwnKernel;
use guest_vm::qemu::MAX_KERNEL_ARGUMENTS;
use kata_test_runner::{NamedKernel, NamedPlace};

/// The name of the place whose kernel `--kernel` names.
const OWN: &str = "own";

/// A VM that is a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmChoice {
    /// The name of the place: `vm:6.12`, or a name of the configuration.
    pub name: String,
    /// The kernel.
    pub kernel: VmKernel,
    /// Further arguments of the kernel.
    pub kernel_args: String,
    /// Whether it has a network, by QEMU's user-mode networking.
    pub network: bool,
}

/// Where a kernel is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmKernel {
    /// The distribution's archive.
    Archive(KernelChoice),
    /// Files.
    Own(OwnKernel),
}

impl std::str::FromStr for VmKernel {
    type Err = InvalidKernelChoice;

    /// Parses a version or suite of the archive, or, with a slash, the path of a kernel.
    fn from_str(text: &str) -> Result<Self, InvalidKernelChoice> {
        if text.contains('/') {
            let kernel = PathBuf::from(text);
            return Ok(Self::Own(OwnKernel {
                kernel,
                modules: None,
            }));
        }
        text.parse().map(Self::Archive)
    }
}

/// The options for a kernel of one's own.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct OwnKernelOptions {
    /// The kernel of a VM that is the place `own`: a bzImage or vmlinux, the folder that it was built in, or a
    /// package (`.deb`).
    #[arg(long, value_name = "KERNEL", help_heading = "A kernel of your own")]
    kernel: Option<PathBuf>,

    /// The modules of that kernel: a folder `lib/modules/VERSION`, or a second package. Not needed if the
    /// kernel has all that a guest needs built in, or if its folder or package has them.
    #[arg(
        long,
        value_name = "MODULES",
        requires = "kernel",
        help_heading = "A kernel of your own"
    )]
    modules: Option<PathBuf>,

    /// Further arguments of that kernel: `"lsm=landlock debug"`.
    #[arg(
        long,
        value_name = "ARGS",
        requires = "kernel",
        allow_hyphen_values = true,
        help_heading = "A kernel of your own"
    )]
    kernel_args: Option<String>,
}

impl OwnKernelOptions {
    /// Returns whether a kernel is named.
    pub(super) fn is_given(&self) -> bool {
        self.kernel.is_some()
    }

    /// Returns the place with the kernel, if one is named.
    pub(super) fn vm(&self) -> Option<VmChoice> {
        Some(VmChoice {
            name: OWN.to_owned(),
            kernel: VmKernel::Own(OwnKernel {
                kernel: self.kernel.clone()?,
                modules: self.modules.clone(),
            }),
            kernel_args: self.kernel_args.clone().unwrap_or_default(),
            network: false,
        })
    }
}

impl VmChoice {
    /// Returns the place that the configuration defines by a name.
    ///
    /// # Errors
    /// If its suite is no suite.
    pub(super) fn named(name: &str, place: &NamedPlace) -> Result<Self> {
        let kernel = match &place.kernel {
            NamedKernel::Suite(suite) => {
                let choice = suite.parse();
                VmKernel::Archive(
                    choice.with_context(|| format!("[places.{name}] has an unknown suite"))?,
                )
            }
            NamedKernel::Own { kernel, modules } => VmKernel::Own(OwnKernel {
                kernel: kernel.clone(),
                modules: modules.clone(),
            }),
        };
        Ok(Self {
            name: place.place(name),
            kernel,
            kernel_args: place.kernel_args.clone(),
            network: place.network,
        })
    }

    /// Checks that the kernel would read all of its arguments.
    ///
    /// # Errors
    /// If they are too long, or no line of text.
    pub(super) fn check(&self) -> Result<()> {
        let args = &self.kernel_args;
        ensure!(
            args.len() <= MAX_KERNEL_ARGUMENTS,
            "{self}: the arguments of the kernel have {} bytes; it would ignore what exceeds {}",
            args.len(),
            MAX_KERNEL_ARGUMENTS
        );
        ensure!(
            !args.contains(char::is_control),
            "{self}: the arguments of the kernel have to be one line"
        );
        Ok(())
    }

    /// Returns the kernel's name, if the place is no more than that kernel of the archive.
    pub(super) fn of_archive(&self) -> Option<String> {
        match &self.kernel {
            VmKernel::Archive(choice) if self.kernel_args.is_empty() => Some(choice.to_string()),
            VmKernel::Archive(_) | VmKernel::Own(_) => None,
        }
    }
}

impl From<KernelChoice> for VmChoice {
    fn from(choice: KernelChoice) -> Self {
        Self {
            name: format!("vm:{choice}"),
            kernel: VmKernel::Archive(choice),
            kernel_args: String::new(),
            network: false,
        }
    }
}

impl fmt::Display for VmChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
