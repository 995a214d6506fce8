//! KVM: a probe runs a bounded loop in a tiny guest and measures its time.
//!
//! On some hosts /dev/kvm opens, creates a VM, and runs a guest to its `hlt`, but interprets ordinary
//! code a thousand times slower than hardware would run it. So the speed decides, not the node or the
//! ioctls.
#![cfg_attr(
    all(target_os = "linux", target_arch = "x86_64"),
    expect(
        unsafe_code,
        reason = "a child of a process with threads may do no more than ask KVM"
    )
)]

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod guest;
mod stage;

use std::time::Duration;

use super::{Answer, Finding, Here, Host, Question};
use crate::verdict::Verdict;

/// Where the answer comes from.
const SOURCE: &str = "a loop in a guest of /dev/kvm";
/// The number of iterations of the guest's loop: about 20 µs on hardware.
const ITERATIONS: u32 = 20_000;
/// The slowest iteration that still counts as hardware, in nanoseconds. Hardware takes about one,
/// nested hardware no more, interpreters more than a thousand.
const SLOWEST: u64 = 100;
/// How long the whole probe may take.
const LIMIT: Duration = Duration::from_secs(3);

/// Whether KVM is usable on this host, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kvm {
    usable: bool,
    reason: String,
}

impl Kvm {
    /// Returns whether KVM runs guests at the speed of hardware.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.usable
    }

    /// Returns the reason in one line, with the measured speed if a guest ran.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// Returns whether KVM is usable on this host. It is measured once a process, for at most three seconds.
#[must_use]
pub fn kvm() -> Kvm {
    let verdict = verdict(Here.ask(Question::Kvm).into_owned());
    Kvm {
        usable: matches!(verdict, Verdict::Met(_)),
        reason: verdict.evidence().to_string(),
    }
}

/// The text of an answer that measured something.
pub(crate) fn measured(nanoseconds: u64) -> String {
    format!("{ITERATIONS} iterations in {nanoseconds} ns")
}

/// The verdict on a measured answer, by its speed.
pub(crate) fn verdict(answer: Answer) -> Verdict {
    let Answer { finding, source } = answer;
    let text = match finding {
        Finding::Is(text) => text,
        Finding::Absent(observed) => return Verdict::unmet(observed, source),
        Finding::Unknown(observed) => return Verdict::undetermined(observed, source),
    };
    let Some((iterations, nanoseconds)) = parse(&text) else {
        return Verdict::undetermined(format!("{text:?} is not a measurement"), source);
    };
    let each = nanoseconds / iterations;
    let took = nanoseconds as f64 / 1e6;
    let observed =
        format!("{iterations} loop iterations in a guest took {took:.1} ms ({each} ns each");
    if each <= SLOWEST {
        Verdict::met(format!("{observed})"), source)
    } else {
        Verdict::unmet(
            format!("too slow: {observed}, hardware needs about 1)"),
            source,
        )
    }
}

fn parse(text: &str) -> Option<(u64, u64)> {
    let (iterations, rest) = text.split_once(" iterations in ")?;
    let iterations: u64 = iterations.parse().ok()?;
    let nanoseconds = rest.strip_suffix(" ns")?.parse().ok()?;
    (iterations > 0).then_some((iterations, nanoseconds))
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(super) fn answer() -> Answer {
    use crate::sys::{NoAnswer, TRUNCATED, answer_within};

    // SAFETY: the child makes system calls only.
    let answer = unsafe {
        answer_within(LIMIT, |send| {
            let ended = guest::fastest_loop(ITERATIONS, u64::from(ITERATIONS) * SLOWEST);
            send(&stage::encode(ended));
        })
    };
    let finding = match answer.as_deref().map(stage::decode) {
        Ok(Some(Ok(nanoseconds))) => Finding::Is(measured(nanoseconds)),
        Ok(Some(Err(failure))) => failure.finding(),
        Ok(None) => Finding::Unknown(TRUNCATED.to_owned()),
        Err(NoAnswer::TooLate(limit)) => Finding::Absent(format!(
            "too slow: a loop of {ITERATIONS} iterations in a guest had not ended after {} s",
            limit.as_secs()
        )),
        Err(problem) => Finding::Unknown(problem.to_string()),
    };
    Answer::new(finding, SOURCE)
}

#[cfg(all(target_os = "linux", not(target_arch = "x86_64")))]
pub(super) fn answer() -> Answer {
    let finding = match std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
    {
        Ok(_) => Finding::Unknown("the speed of KVM can be measured on x86_64 only".to_owned()),
        Err(error) => stage::Failure::open(error.raw_os_error().unwrap_or(0)).finding(),
    };
    Answer::new(finding, "/dev/kvm")
}

#[cfg(not(target_os = "linux"))]
pub(super) fn answer() -> Answer {
    Answer::new(
        Finding::Absent("KVM is a part of Linux".to_owned()),
        "the target's system",
    )
}

#[cfg(test)]
mod tests {
    //! Scope: judging, and that the probe ends on whatever host this is.

    use super::*;

    #[test]
    fn the_text_of_a_measurement_is_read_back() {
        assert_eq!(parse(&measured(123)), Some((u64::from(ITERATIONS), 123)));
        for text in [
            "",
            "0 iterations in 1 ns",
            "x iterations in 1 ns",
            "1 iterations in 1 ms",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_speed_decides() {
        let of = |finding| verdict(Answer::new(finding, SOURCE));
        let at = |each: u64| of(Finding::Is(measured(u64::from(ITERATIONS) * each)));
        assert!(matches!(at(1), Verdict::Met(_)));
        assert!(matches!(at(SLOWEST), Verdict::Met(_)));
        let Verdict::Unmet(evidence) = at(SLOWEST + 1) else {
            panic!("too slow")
        };
        assert_eq!(
            evidence.observed,
            "too slow: 20000 loop iterations in a guest took 2.0 ms (101 ns each, hardware needs \
             about 1)"
        );
        let text = || "fast".to_owned();
        assert!(matches!(of(Finding::Absent(text())), Verdict::Unmet(_)));
        for undetermined in [Finding::Unknown(text()), Finding::Is(text())] {
            assert!(matches!(of(undetermined), Verdict::Undetermined(_)));
        }
    }

    /// The probe against what open(2) and the clock say here.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn the_real_probe_says_why() {
        let start = std::time::Instant::now();
        let finding = answer().finding;
        let took = start.elapsed();
        assert!(took < LIMIT + Duration::from_secs(2), "{took:?}");
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm");
        match (opened, finding) {
            (Ok(_), Finding::Is(text)) => {
                let (iterations, nanoseconds) = parse(&text).expect("a measurement");
                assert_eq!(iterations, u64::from(ITERATIONS));
                let measured = Duration::from_nanos(nanoseconds);
                assert!(!measured.is_zero() && measured < took, "{text} of {took:?}");
            }
            (Ok(_), Finding::Absent(text)) if text.contains("EBUSY") => {}
            (Ok(_), Finding::Absent(text)) => assert!(took >= LIMIT, "{text} after {took:?}"),
            (Err(_), Finding::Absent(text)) => assert!(text.contains("/dev/kvm"), "{text}"),
            (opened, finding) => panic!("{opened:?}, yet {finding:?}"),
        }
    }
}
