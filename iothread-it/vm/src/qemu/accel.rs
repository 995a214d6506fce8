//! Selects the accelerator.

use std::fmt;

/// QEMU's accelerator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accelerator {
    /// Hardware virtualisation by `/dev/kvm`.
    Kvm,
    /// Emulation.
    Tcg {
        /// Why KVM is not used.
        why: String,
    },
}

impl Accelerator {
    /// Returns KVM if a probe shows that it works and is fast, else TCG. The probe runs guest code,
    /// because `/dev/kvm` may exist and not work.
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
            Self::Tcg { why } => write!(f, "TCG, because KVM is not usable: {why}"),
        }
    }
}
