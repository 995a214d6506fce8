//! How fast KVM is, and the verdicts on it.

use std::borrow::Cow;

use super::{Answer, Finding, Host, Question};
use crate::verdict::Verdict;

/// How fast a guest of KVM runs, coarsely. The measured time is another fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speed {
    /// As fast as hardware.
    Hardware,
    /// Like a CPU that QEMU emulates: ten to a hundred times slower.
    Emulated,
    /// Like an interpreter of single instructions: about a thousand times slower.
    Interprets,
}

impl Speed {
    /// The speed at which one iteration of the probe's loop takes so long. All three were measured, on one kind
    /// of machine: about 35 ns on its CPU outside of KVM, 3,000 to 7,000 in QEMU's emulation (19,000 while the
    /// host was busy), and 158,000 in an interpreter. Under a KVM of hardware the loop has not been run yet.
    pub(super) fn of(nanoseconds: u64) -> Self {
        match nanoseconds {
            ..=400 => Self::Hardware,
            401..=55_000 => Self::Emulated,
            _ => Self::Interprets,
        }
    }

    /// Returns one word: `hardware`, `emulated` or `interprets`.
    fn word(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Emulated => "emulated",
            Self::Interprets => "interprets",
        }
    }

    /// A sentence that is the same for all machines of this speed.
    fn observed(self) -> &'static str {
        match self {
            Self::Hardware => "KVM runs guests at the speed of hardware",
            Self::Emulated => "KVM works, emulated: it is far slower than hardware",
            Self::Interprets => {
                "KVM interprets its guests: it is about a thousand times slower than hardware"
            }
        }
    }
}

/// The speed that an answer to [`Question::KvmSpeed`] states.
fn parse(text: &str) -> Option<Speed> {
    let (nanoseconds, _) = text.split_once(' ')?;
    nanoseconds.parse().ok().map(Speed::of)
}

/// The text of an answer to [`Question::KvmSpeed`].
pub(crate) fn measured(nanoseconds: u64) -> String {
    let speed = Speed::of(nanoseconds).word();
    format!("{nanoseconds} ns for one iteration of a loop in a guest: {speed}")
}

/// The verdict on `kvm_hardware`: KVM works, and fast.
pub(crate) fn hardware(host: &dyn Host) -> Verdict {
    match speed(host) {
        Ok((Speed::Hardware, source)) => Verdict::met(Speed::Hardware.observed(), source),
        Ok((slower, source)) => Verdict::unmet(slower.observed(), source),
        Err(verdict) => verdict,
    }
}

/// The speed of a KVM that works, and its source; else the verdict on it.
fn speed(host: &dyn Host) -> Result<(Speed, Cow<'static, str>), Verdict> {
    present(host, Question::Kvm)?;
    let (text, source) = present(host, Question::KvmSpeed)?;
    match parse(&text) {
        Some(speed) => Ok((speed, source)),
        None => Err(Verdict::undetermined(
            format!("{text:?} is not a measurement"),
            source,
        )),
    }
}

/// What an answer says is present, and its source.
fn present(host: &dyn Host, question: Question) -> Result<(String, Cow<'static, str>), Verdict> {
    let Answer { finding, source } = host.ask(question).into_owned();
    match finding {
        Finding::Is(text) => Ok((text, source)),
        Finding::Absent(text) => Err(Verdict::unmet(text, source)),
        Finding::Unknown(text) => Err(Verdict::undetermined(text, source)),
    }
}

/// Whether KVM is usable on this host to run whole VMs, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kvm {
    speed: Option<Speed>,
    reason: String,
}

impl Kvm {
    /// The verdict on `kvm_hardware` of a host.
    pub(super) fn of(host: &dyn Host) -> Self {
        Self {
            speed: speed(host).ok().map(|(speed, _)| speed),
            reason: hardware(host).evidence().to_string(),
        }
    }

    /// Returns whether KVM works and runs guests at the speed of hardware, as `kvm_hardware` requires it.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.speed == Some(Speed::Hardware)
    }

    /// Returns whether KVM works and is emulated: this host is a guest of an emulator.
    #[must_use]
    pub fn is_emulated(&self) -> bool {
        self.speed == Some(Speed::Emulated)
    }

    /// Returns the reason in one line.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

#[cfg(test)]
mod tests {
    //! Scope: classes of speed, and the verdict on made-up answers.

    use super::*;

    struct MadeUp(Finding, Finding);

    impl Host for MadeUp {
        fn ask(&self, question: Question) -> Cow<'_, Answer> {
            let finding = match question {
                Question::Kvm => &self.0,
                Question::KvmSpeed => &self.1,
                other => panic!("{other} is not needed"),
            };
            Cow::Owned(Answer::new(finding.clone(), "a made-up host"))
        }
    }

    fn works() -> Finding {
        Finding::Is("it works".to_owned())
    }

    #[test]
    fn the_speed_decides_and_one_class_has_one_reason() {
        let at = |nanoseconds| hardware(&MadeUp(works(), Finding::Is(measured(nanoseconds))));
        let observed = |nanoseconds| match at(nanoseconds) {
            Verdict::Unmet(evidence) => evidence.observed.into_owned(),
            other => panic!("{nanoseconds}: {other:?}"),
        };
        for fast in [30, 55, 150, 400] {
            assert!(matches!(at(fast), Verdict::Met(_)), "{fast}");
        }
        assert_eq!(observed(1_100), observed(3_900));
        assert_eq!(observed(60_000), observed(900_000));
        assert_ne!(observed(1_100), observed(60_000));
        assert!(observed(1_100).contains("emulated"));
        assert!(observed(60_000).contains("interprets"));
    }

    #[test]
    fn without_a_measurement_there_is_no_guess() {
        let text = || "because".to_owned();
        for (works, speed, expected) in [
            (
                Finding::Absent(text()),
                works(),
                Verdict::unmet as fn(String, &'static str) -> Verdict,
            ),
            (Finding::Unknown(text()), works(), Verdict::undetermined),
            (works(), Finding::Absent(text()), Verdict::unmet),
            (works(), Finding::Unknown(text()), Verdict::undetermined),
        ] {
            let verdict = hardware(&MadeUp(works, speed));
            assert_eq!(verdict, expected(text(), "a made-up host"));
        }
        let no_number = hardware(&MadeUp(works(), Finding::Is("fast".to_owned())));
        assert!(matches!(no_number, Verdict::Undetermined(_)));
    }

    #[test]
    fn usable_means_hardware() {
        let kvm = |nanoseconds| Kvm::of(&MadeUp(works(), Finding::Is(measured(nanoseconds))));
        assert!(kvm(60).usable());
        assert!(!kvm(60).is_emulated());
        assert!(!kvm(2_000).usable());
        assert!(kvm(2_000).is_emulated());
        assert!(!kvm(60_000).is_emulated());
        assert!(kvm(2_000).reason().contains("emulated"));
    }
}
