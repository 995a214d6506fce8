//! What is known of a bug on the QEMUs at hand.

/// What a case of this matrix is worth, from evidence.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mark {
    /// Seen red on some packages of QEMU, and expected to fail there.
    Reproduced,
    /// Seen red on some packages of QEMU, but not each time: a race.
    Race,
    /// Never red on a QEMU at hand.
    Guard {
        /// What does redden it, tried on our side: `CASES.md` says it too.
        tried: &'static str,
    },
}

/// The packages that bugs were seen in, as constraints.
pub(crate) mod seen {
    use guest_vm::artifacts::Manifest;
    use kata_test::Verdict;

    pub(crate) fn bookworm() -> Verdict {
        is("7.2.22 (Debian 1:7.2+dfsg-7+deb12u18")
    }

    pub(crate) fn trixie() -> Verdict {
        is("10.0.13 (Debian 1:10.0.13+ds-0+deb13u1")
    }

    pub(crate) fn sid() -> Verdict {
        is("11.1.3 (Debian 1:11.1.3+ds-1")
    }

    /// Whether the version of QEMU begins so, with the distribution's own.
    fn is(package: &str) -> Verdict {
        const SOURCE: &str = "the manifest";
        match Manifest::find() {
            Ok(Manifest { qemu, .. }) if qemu.version.starts_with(package) => {
                Verdict::met(qemu.version, SOURCE)
            }
            Ok(Manifest { qemu, .. }) => {
                Verdict::unmet(format!("QEMU is {}", qemu.version), SOURCE)
            }
            Err(error) => Verdict::undetermined(error.to_string(), SOURCE),
        }
    }
}
