//! KVM: whether it works, how fast it is, and what it can do.
//!
//! Neither a node that opens nor a guest that halts proves that KVM works: on some hosts an ordinary guest
//! is interpreted, a thousand times slower than hardware would run it, and not every instruction has its
//! effect. So one probe checks what a few instructions do, and another one measures a loop.
#![cfg_attr(
    all(target_os = "linux", target_arch = "x86_64"),
    expect(
        unsafe_code,
        reason = "a child of a process with threads may do no more than ask KVM"
    )
)]

mod class;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod speed;
mod stage;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod structures;
mod vendor;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod vm;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod works;

use std::time::Duration;

use super::system::System;
use super::{Answer, Finding, Here, Host, Question};
pub use class::Kvm;
pub(crate) use class::{hardware, measured};
pub(super) use vendor::{vendor, with_cause};

/// Where the answers come from.
const WORKS: &str = "a probe of /dev/kvm";
const SPEED: &str = "a loop in a guest of KVM";
const CAPABILITIES: &str = "KVM_CHECK_EXTENSION";
/// How long a probe may take. On hardware each takes a few milliseconds.
const LIMIT: Duration = Duration::from_secs(5);

/// Returns whether KVM works on this host at the speed of hardware. It is measured once a process, for ten
/// seconds at most.
#[must_use]
pub fn kvm() -> Kvm {
    Kvm::of(&Here)
}

/// Answers a question about KVM by a probe.
pub(super) fn answer(question: Question) -> Answer {
    match question {
        Question::KvmSpeed => Answer::new(speed(), SPEED),
        Question::KvmCapabilities => Answer::new(capabilities(), CAPABILITIES),
        _ => Answer::new(works(), WORKS),
    }
}

/// The text of an answer to [`Question::KvmCapabilities`]: numbers and ranges of them.
fn ranges(bits: &[u64; 4]) -> String {
    let has = |number: usize| bits[number / 64] >> (number % 64) & 1 == 1;
    let mut text = String::new();
    let mut number = 0;
    while number < 256 {
        let first = number;
        while number < 256 && has(number) {
            number += 1;
        }
        if number > first {
            let space = if text.is_empty() { "" } else { " " };
            text += &match number - first {
                1 => format!("{space}{first}"),
                _ => format!("{space}{first}-{}", number - 1),
            };
        }
        number += 1;
    }
    text
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn works() -> Finding {
    let late =
        "/dev/kvm opens but does not work: a guest of seven instructions did not end within 5 s";
    let text = |_: [u64; 4]| "a guest's instructions have the right effects".to_owned();
    probe(works::check, text, late)
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn speed() -> Finding {
    let late = "KVM interprets its guests: a loop of some milliseconds did not end within 5 s";
    probe(
        speed::measure,
        |[nanoseconds, ..]| measured(nanoseconds),
        late,
    )
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn capabilities() -> Finding {
    let late = "/dev/kvm did not answer within 5 s";
    probe(vm::capabilities, |bits| ranges(&bits), late)
}

/// Runs a probe in a child. `text` formats its numbers.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn probe(
    work: fn() -> Result<[u64; 4], stage::Failure>,
    text: fn([u64; 4]) -> String,
    late: &str,
) -> Finding {
    use crate::sys::{NoAnswer, TRUNCATED, answer_within};

    // SAFETY: the child makes system calls only.
    let answer = unsafe { answer_within(LIMIT, |send| send(&stage::encode(work()))) };
    match answer.as_deref().map(stage::decode) {
        Ok(Some(Ok(numbers))) => Finding::Is(text(numbers)),
        Ok(Some(Err(failure))) => failure.finding(),
        Ok(None) => Finding::Unknown(TRUNCATED.to_owned()),
        Err(NoAnswer::TooLate(_)) => Finding::Absent(late.to_owned()),
        Err(problem) => Finding::Unknown(problem.to_string()),
    }
}

#[cfg(all(target_os = "linux", not(target_arch = "x86_64")))]
fn works() -> Finding {
    match std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
    {
        Ok(_) => Finding::Unknown("KVM can be probed on x86_64 only".to_owned()),
        Err(error) => stage::Stage::Open
            .failed(error.raw_os_error().unwrap_or(0))
            .finding(),
    }
}

#[cfg(not(target_os = "linux"))]
fn works() -> Finding {
    Finding::Absent("KVM is a part of Linux".to_owned())
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn speed() -> Finding {
    works()
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn capabilities() -> Finding {
    works()
}

#[cfg(test)]
mod tests {
    //! Scope: that the probes end on whatever host this is, and the form of their answers.

    use super::*;

    #[test]
    fn capabilities_are_ranges() {
        for (bits, text) in [
            ([0; 4], ""),
            ([0b1011, 0, 0, 0], "0-1 3"),
            ([1 << 63, 1, 0, 1 << 63], "63-64 255"),
            ([u64::MAX; 4], "0-255"),
        ] {
            assert_eq!(ranges(&bits), text);
        }
    }

    /// The probes against what open(2) and the clock say here.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn the_real_probes_say_why() {
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm");
        for question in [Question::Kvm, Question::KvmSpeed, Question::KvmCapabilities] {
            let start = std::time::Instant::now();
            let finding = answer(question).finding;
            let took = start.elapsed();
            println!("{question}: {finding:?} {took:?}");
            assert!(took < LIMIT + Duration::from_secs(3), "{took:?}");
            match (&opened, finding) {
                (Ok(_), Finding::Is(text)) => assert!(!text.is_empty()),
                (Ok(_), Finding::Absent(text)) => {
                    let explained = ["EBUSY", "does not work: ", "interprets"];
                    assert!(explained.iter().any(|part| text.contains(part)), "{text}");
                }
                (Err(_), Finding::Absent(text)) => assert!(text.contains("/dev/kvm"), "{text}"),
                (opened, finding) => panic!("{question}: {opened:?}, yet {finding:?}"),
            }
        }
    }
}
