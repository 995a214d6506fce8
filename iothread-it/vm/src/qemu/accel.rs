//! Selects the accelerator.

use std::fmt;

use super::host_tsc;

/// QEMU's accelerator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accelerator {
    /// Hardware virtualisation by `/dev/kvm`.
    Kvm,
    /// Emulation.
    Tcg {
        /// Why KVM is not used.
        why: String,
        /// The frequency of the host's TSC in kHz, which is the guest's too, if the host has a constant one.
        tsc_khz: Option<u64>,
    },
}

impl Accelerator {
    /// Returns KVM if a probe shows that it works and is not slower than TCG would be, else TCG. The probe
    /// runs guest code, because `/dev/kvm` may exist and not work. Where KVM is emulated, TCG would be too.
    pub fn probe() -> Self {
        let kvm = kata_test_host::facts::kvm();
        if kvm.usable() || kvm.is_emulated() {
            Self::Kvm
        } else {
            Self::tcg(kvm.reason())
        }
    }

    /// Emulation on this host.
    fn tcg(why: &str) -> Self {
        Self::Tcg {
            why: why.to_owned(),
            tsc_khz: host_tsc::khz(),
        }
    }

    /// The same for a guest that has KVM itself: KVM also has to offer nested virtualization to guests.
    pub fn probe_nested() -> Self {
        let parameter = |module| {
            std::fs::read_to_string(format!("/sys/module/{module}/parameters/nested")).ok()
        };
        let nested = parameter("kvm_intel").or_else(|| parameter("kvm_amd"));
        Self::probe().if_nested(nested.as_deref())
    }

    /// Decides by the parameter `nested` of KVM's module: `Y` or `1`.
    fn if_nested(self, nested: Option<&str>) -> Self {
        match (self, nested.map(str::trim)) {
            (Self::Kvm, Some("Y" | "1")) => Self::Kvm,
            (Self::Kvm, _) => Self::tcg(
                "this host's KVM offers no nested virtualization to guests; set the parameter \
                 `nested=1` of kvm_intel or kvm_amd",
            ),
            (tcg, _) => tcg,
        }
    }

    /// The same without a measured frequency.
    pub(crate) fn without_tsc(&self) -> Self {
        match self {
            Self::Kvm => Self::Kvm,
            Self::Tcg { why, .. } => Self::Tcg {
                why: why.clone(),
                tsc_khz: None,
            },
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
            Self::Tcg { why, .. } => write!(f, "TCG, because KVM is not usable: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    //! **Scope**: made-up hosts; no host with nested hardware virtualization has run this yet.

    use super::*;

    #[test]
    fn a_guest_with_kvm_uses_hardware_only_where_kvm_is_nested() {
        let tcg = || Accelerator::tcg("there is no /dev/kvm");
        for yes in ["Y\n", "1\n", "Y"] {
            assert_eq!(Accelerator::Kvm.if_nested(Some(yes)), Accelerator::Kvm);
            assert_eq!(tcg().if_nested(Some(yes)), tcg());
        }
        for no in [None, Some("N\n"), Some("0\n"), Some("")] {
            let Accelerator::Tcg { why, .. } = Accelerator::Kvm.if_nested(no) else {
                panic!("{no:?}")
            };
            assert!(why.contains("nested=1"), "{why}");
        }
    }
}
