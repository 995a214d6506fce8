//! What is known of a bug on the QEMUs at hand.

use anyhow::{Context, Result, bail, ensure};
use guest_vm::artifacts::Manifest;

/// What a case of this matrix is worth, from evidence.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mark {
    /// Seen red on these packages of QEMU. There the case must fail, and just so: a pass fails the
    /// run, and so does another failure. Everywhere else it must pass.
    Reproduced(&'static [Red]),
    /// Seen red on these packages of QEMU, but not each time: a race. There the case may fail, and
    /// just so; another failure fails the run. Everywhere else it must pass.
    Race(&'static [Red]),
    /// Never red on a QEMU at hand.
    Guard {
        /// The QEMU that would redden it.
        bug: &'static str,
        /// What does redden it, tried on our side: `CASES.md` says it too.
        tried: &'static str,
    },
}

/// Returns the mark of a case that was never red on a QEMU at hand.
pub(crate) const fn guard(bug: &'static str, tried: &'static str) -> Mark {
    Mark::Guard { bug, tried }
}

/// A QEMU with the bug.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Red {
    /// How its version begins, with the distribution's own: `7.2.22 (Debian 1:7.2+dfsg-7`.
    pub(crate) qemu: &'static str,
    /// What the failure says.
    pub(crate) error: &'static str,
}

/// How a QEMU fails that blocks itself at its end.
pub(crate) const QUIT_TIMEOUT_TEXT: &str = "QEMU did not end within 20.0 s after `quit`";

/// The packages that bugs were seen in.
pub(crate) mod seen {
    pub(crate) const BOOKWORM: &str = "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18";
    pub(crate) const TRIXIE: &str = "10.0.13 (Debian 1:10.0.13+ds-0+deb13u1";
    pub(crate) const SID: &str = "11.1.3 (Debian 1:11.1.3+ds-1";
}

impl Mark {
    /// Runs a case and turns its outcome into what the mark makes of it.
    pub(crate) fn judge(self, case: impl FnOnce() -> Result<()>) -> Result<()> {
        let qemu = Manifest::find()?.qemu.version;
        self.weigh(&qemu, case())
    }

    fn weigh(self, qemu: &str, outcome: Result<()>) -> Result<()> {
        let Some(red) = self.red_on(qemu) else {
            return outcome.with_context(|| match self {
                Self::Reproduced(_) | Self::Race(_) => {
                    format!("QEMU {qemu} is not known to have this bug")
                }
                Self::Guard { bug, .. } => {
                    format!("QEMU {qemu} broke what never broke here: {bug}")
                }
            });
        };
        let error = match (outcome, self) {
            (Err(error), _) => error,
            (Ok(()), Self::Race(_)) => return Ok(()),
            (Ok(()), _) => {
                bail!("it passes on QEMU {qemu}, where it was seen to fail: take the mark off")
            }
        };
        let message = format!("{error:#}");
        ensure!(
            message.contains(red.error),
            "QEMU {qemu} fails, but not with {:?}: {message}",
            red.error
        );
        println!("fails as expected on QEMU {qemu}: {message}");
        kata_test::measure("expected_failure", 1.0);
        Ok(())
    }

    fn red_on(self, qemu: &str) -> Option<Red> {
        match self {
            Self::Reproduced(all) | Self::Race(all) => {
                all.iter().find(|red| qemu.starts_with(red.qemu)).copied()
            }
            Self::Guard { .. } => None,
        }
    }
}

#[kata_test::kata_test]
fn an_expected_failure_is_strict() {
    const RED: &[Red] = &[Red {
        qemu: "7.2.22 (Debian 1:7",
        error: "Bail out",
    }];
    const MARK: Mark = Mark::Reproduced(RED);
    const RACE: Mark = Mark::Race(RED);
    let (old, new) = ("7.2.22 (Debian 1:7.2)", "10.0.2 (Debian 1:10)");
    let failed = |text: &str| Err(anyhow::anyhow!(text.to_owned()));
    assert!(MARK.weigh(old, failed("QEMU's stderr: Bail out!")).is_ok());
    assert!(MARK.weigh(old, Ok(())).is_err());
    assert!(MARK.weigh(old, failed("no such file")).is_err());
    assert!(MARK.weigh(new, Ok(())).is_ok());
    assert!(MARK.weigh(new, failed("QEMU's stderr: Bail out!")).is_err());
    assert!(RACE.weigh(old, failed("QEMU's stderr: Bail out!")).is_ok());
    assert!(RACE.weigh(old, Ok(())).is_ok());
    assert!(RACE.weigh(old, failed("no such file")).is_err());
    assert!(RACE.weigh(new, failed("QEMU's stderr: Bail out!")).is_err());
    assert!(guard("", "").weigh(old, failed("Bail out")).is_err());
}
