//! Which accelerator a VM uses on this host.

use std::fmt;

/// QEMU's accelerator, and for the slow one why not the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accelerator {
    /// The CPU's own virtualisation, by `/dev/kvm`.
    Kvm,
    /// Emulation.
    Tcg {
        /// Why KVM is not used, for a person.
        why: String,
    },
}

impl Accelerator {
    /// Returns what this host is good for, by a probe that runs guest code and judges its speed: a
    /// `/dev/kvm` that opens proves nothing.
    pub fn probe() -> Self {
        let kvm = kata_test_host::facts::kvm();
        if kvm.usable() {
            Self::Kvm
        } else {
            Self::Tcg {
                why: kvm.reason().to_owned(),
            }
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg { .. } => "tcg",
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kvm => f.write_str("KVM"),
            Self::Tcg { why } => write!(f, "TCG since KVM is not usable: {why}"),
        }
    }
}
