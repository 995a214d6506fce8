//! A test that stops half-way, since it finds out only there that it cannot do its work.
//!
//! It stops by unwinding, so that destructors run, with a payload that both harnesses know. That
//! works on the test's own thread only: nobody else's unwinding ends the test.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{Location, resume_unwind};

use crate::constraint::{Constraint, Standing, judge};
use crate::contract::unskip;
use crate::facts::Here;
use crate::measure::report;
use crate::verdict::{Reason, join};

/// Why a test stopped half-way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Halt {
    /// Whether what was required could not be decided; else it is unmet.
    pub(crate) undetermined: bool,
    pub(crate) reasons: Vec<Reason>,
}

/// How far the test of this thread is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No test of ours runs on this thread.
    None,
    Running,
    /// It has been asked to stop.
    Halting,
}

thread_local! {
    static STAGE: Cell<Stage> = const { Cell::new(Stage::None) };
    /// Something is in the list below, which is not to be touched for nothing: it has a destructor,
    /// and each test's process would have to have that registered.
    static ANY_WAIVED: Cell<bool> = const { Cell::new(false) };
    /// What was required, is unmet, and did not stop the test, since unmet tests are to run.
    static WAIVED: RefCell<Vec<Reason>> = const { RefCell::new(Vec::new()) };
}

/// What `require!` calls: the test goes on only if all of this holds.
#[track_caller]
pub fn require(constraints: &[Constraint]) {
    let judgement = judge(constraints, &Here);
    let undetermined = match judgement.standing {
        Standing::Met => return,
        Standing::Unmet if unskip() => {
            ANY_WAIVED.set(true);
            WAIVED.with_borrow_mut(|waived| waived.extend(judgement.reasons));
            return;
        }
        Standing::Unmet => false,
        Standing::Undetermined => true,
    };
    let reasons = judgement.reasons;
    halt(Halt {
        undetermined,
        reasons,
    })
}

/// What `skip!` calls.
#[track_caller]
pub fn skip(why: fmt::Arguments<'_>) -> ! {
    let place = Location::caller();
    let reason = Reason::said_by_the_test(
        why.to_string(),
        format!("{}:{}", place.file(), place.line()),
    );
    halt(Halt {
        undetermined: false,
        reasons: vec![reason],
    })
}

#[track_caller]
fn halt(halt: Halt) -> ! {
    assert!(
        STAGE.get() != Stage::None,
        "{}\nnot a skip but a failure, since only the own thread of a test made by `kata_test` can \
         stop that test",
        join(&halt.reasons)
    );
    STAGE.set(Stage::Halting);
    // Past the panic hook: this is no panic that anybody should read about.
    resume_unwind(Box::new(halt))
}

/// Runs a test's body on this thread, and says whether it was asked to stop, whoever may have caught
/// the unwinding.
pub(crate) fn watch<T>(body: impl FnOnce() -> T) -> (T, bool) {
    let before = STAGE.replace(Stage::Running);
    let result = body();
    (result, STAGE.replace(before) == Stage::Halting)
}

/// Takes what did not stop the test of this thread, since unmet tests are to run.
pub(crate) fn take_waived() -> Vec<Reason> {
    if ANY_WAIVED.replace(false) {
        WAIVED.take()
    } else {
        Vec::new()
    }
}

/// Reports these to the harness.
pub(crate) fn report_waived() {
    for reason in take_waived() {
        report(&line("waived", &reason));
    }
}

/// Reads what [`report_waived`] sent.
pub(crate) fn read_waived(line: &str) -> Option<Reason> {
    parse(line)
        .filter(|(kind, _)| *kind == "waived")
        .map(|(_, reason)| reason)
}

/// The longest part of a reason that goes through the pipe: a line has to fit into one atomic write.
const LONGEST: usize = 600;

impl Halt {
    /// Reports to the harness, a line for each reason.
    pub(crate) fn report(&self) {
        for line in self.lines() {
            report(&line);
        }
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let kind = if self.undetermined {
            "undetermined"
        } else {
            "unmet"
        };
        self.reasons.iter().map(move |reason| line(kind, reason))
    }

    /// Adds what a reported line says; `false` if it is another report.
    pub(crate) fn read(line: &str, halt: &mut Option<Self>) -> bool {
        let Some((kind @ ("undetermined" | "unmet"), reason)) = parse(line) else {
            return false;
        };
        let halt = halt.get_or_insert(Self {
            undetermined: kind == "undetermined",
            reasons: Vec::new(),
        });
        halt.reasons.push(reason);
        true
    }
}

fn line(kind: &str, reason: &Reason) -> String {
    let parts = [&reason.constraint, &reason.observed, &reason.source];
    let [constraint, observed, source] = parts.map(|part| escape(part));
    format!("{kind} {constraint}\t{observed}\t{source}")
}

fn parse(line: &str) -> Option<(&str, Reason)> {
    let (kind, parts) = line.split_once(' ')?;
    let parts: Vec<String> = parts.split('\t').map(unescape).collect();
    let [constraint, observed, source] = <[String; 3]>::try_from(parts).ok()?;
    let reason = Reason {
        constraint,
        observed,
        source,
    };
    Some((kind, reason))
}

/// One part of a line: cut to its length, and without what separates parts and lines.
fn escape(text: &str) -> String {
    let mut cut = text.len().min(LONGEST);
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    let ellipsis = if cut < text.len() { "…" } else { "" };
    let escaped = text[..cut].replace('\\', "\\\\");
    escaped
        .replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\t', "\\t")
        + ellipsis
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => plain.push(match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                other => other.unwrap_or('\\'),
            }),
            (c, false) => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    //! Scope: what crosses the pipe, and who may stop a test. The rest runs in the sample binaries.

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reasons_survive_the_pipe(texts in any::<[[String; 3]; 2]>(), undetermined: bool) {
            let halt = Halt {
                undetermined,
                reasons: texts
                    .map(|[constraint, observed, source]| Reason { constraint, observed, source })
                    .to_vec(),
            };
            let mut read = None;
            let waived = read_waived(&line("waived", &halt.reasons[0]));
            prop_assert_eq!(waived.as_ref(), halt.reasons.first());
            for line in halt.lines() {
                prop_assert_eq!(read_waived(&line), None);
                prop_assert!(line.len() < 4096 && !line.contains('\n'));
                prop_assert!(Halt::read(&line, &mut read));
            }
            prop_assert_eq!(read, Some(halt));
        }

        #[test]
        fn garbage_never_panics(line in any::<String>()) {
            let _ = Halt::read(&line, &mut None);
        }
    }

    #[test]
    fn a_long_reason_is_cut() {
        let reason = Reason::said_by_the_test("ä\n".repeat(5000), "x".to_owned());
        let halt = Halt {
            undetermined: false,
            reasons: vec![reason],
        };
        let line = halt.lines().next().expect("a line");
        assert!(line.len() < 4096, "{}", line.len());
        let mut read = None;
        assert!(Halt::read(&line, &mut read));
        assert!(read.expect("a halt").reasons[0].observed.ends_with('…'));
    }

    #[test]
    fn nobody_else_can_stop_a_test() {
        let caught = std::panic::catch_unwind(|| skip(format_args!("no disk")));
        let payload = caught.expect_err("a panic");
        let text = crate::facts::panic_text(&*payload).expect("a text");
        assert!(text.starts_with("no disk ("), "{text}");
        assert!(text.contains("not a skip but a failure"), "{text}");
    }
}
