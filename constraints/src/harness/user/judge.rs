//! Verdicts as another user has them: in a child that became that user, and asks everything anew.
#![expect(
    unsafe_code,
    reason = "only a process with one thread may fork for any code"
)]

use std::time::Duration;

use super::{Home, User, needed, out_of_reach};
use crate::constraint::{Judgement, Standing, judge};
use crate::facts::{self, Here};
use crate::harness::threads;
use crate::registry::Test;
use crate::sys::{Bounded, Sends, answer_within};
use crate::verdict::Reason;

/// How long the questions of one test may take: a probe has ten seconds, and there can be some.
const LIMIT: Duration = Duration::from_secs(60);

/// Judges the constraints of some tests as a user.
pub(in crate::harness) fn judge_all(user: User, tests: &[&Test]) -> Vec<Judgement> {
    // A list does not refuse a process with threads as a run does: nothing but this is forked for it.
    if let Some(problem) = threads::problem().filter(|_| !threads::are_allowed()) {
        return undetermined(tests.len(), &problem);
    }
    let limit = LIMIT.saturating_mul(u32::try_from(tests.len()).unwrap_or(u32::MAX));
    // Who is shut out of a folder cannot even ask for its name.
    let needed = needed();
    let home = match Home::make(user) {
        Ok(home) => home,
        Err(error) => {
            let observed = format!("no home for uid {}: {error}", user.uid());
            return undetermined(tests.len(), &observed);
        }
    };
    let work = |send: &Sends<'_>| {
        let parent = nix::unistd::getppid();
        let mut text = String::new();
        let blocked = match user.become_it(parent) {
            Err(problem) => Some(problem),
            Ok(()) => {
                user.enter_session(&home);
                facts::forget();
                out_of_reach(&needed).map(|problem| format!("uid {} {problem}", user.uid()))
            }
        };
        for test in tests {
            encode(&one(test, blocked.as_deref()), &mut text);
        }
        send(text.as_bytes());
        // Coverage counters are written by the ordinary way out.
        std::process::exit(0);
    };
    // SAFETY: the harness has one thread, or its user has accepted the risk.
    let answer = unsafe { answer_within(limit, work) };
    let problem = match answer {
        Ok(Bounded::Answer(bytes)) => {
            let judgements = decode(&String::from_utf8_lossy(&bytes));
            match judgements.filter(|judgements| judgements.len() == tests.len()) {
                Some(judgements) => return judgements,
                None => "its answer was cut".to_owned(),
            }
        }
        Ok(Bounded::Died(how)) => format!("the process that looks {how}"),
        Ok(Bounded::TooLate) => format!("there was no answer within {} s", limit.as_secs()),
        Err(errno) => format!("fork: {errno}"),
    };
    undetermined(tests.len(), &format!("as uid {}, {problem}", user.uid()))
}

/// The verdict on a test whose user cannot be looked up.
pub(in crate::harness) fn unknown_user(problem: &str) -> Judgement {
    standing(Standing::Undetermined, problem, "user database")
}

fn undetermined(count: usize, observed: &str) -> Vec<Judgement> {
    let one = || standing(Standing::Undetermined, observed, "fork");
    (0..count).map(|_| one()).collect()
}

fn one(test: &Test, blocked: Option<&str>) -> Judgement {
    match blocked {
        Some(problem) => standing(Standing::Unmet, problem, "setresuid, access"),
        None => judge(test.constraints, &Here),
    }
}

fn standing(standing: Standing, observed: &str, source: &str) -> Judgement {
    let reason = Reason {
        constraint: "non_root".to_owned(),
        observed: observed.to_owned(),
        source: source.to_owned(),
    };
    Judgement {
        standing,
        reasons: vec![reason],
    }
}

/// Separates the texts of a reason, and one judgement from the next: no text holds them.
const FIELD: char = '\u{1f}';
const END: char = '\u{1e}';

/// A standing, then three texts for each reason.
fn encode(judgement: &Judgement, to: &mut String) {
    to.push(match judgement.standing {
        Standing::Met => 'm',
        Standing::Unmet => 'u',
        Standing::Undetermined => '?',
    });
    for reason in &judgement.reasons {
        for text in [&reason.constraint, &reason.observed, &reason.source] {
            to.push(FIELD);
            to.push_str(&text.replace([FIELD, END], " "));
        }
    }
    to.push(END);
}

fn decode(text: &str) -> Option<Vec<Judgement>> {
    text.split_terminator(END).map(decode_one).collect()
}

fn decode_one(text: &str) -> Option<Judgement> {
    let mut fields = text.split(FIELD);
    let standing = match fields.next()? {
        "m" => Standing::Met,
        "u" => Standing::Unmet,
        "?" => Standing::Undetermined,
        _ => return None,
    };
    let mut reasons = Vec::new();
    while let Some(constraint) = fields.next() {
        reasons.push(Reason {
            constraint: constraint.to_owned(),
            observed: fields.next()?.to_owned(),
            source: fields.next()?.to_owned(),
        });
    }
    Some(Judgement { standing, reasons })
}

#[cfg(test)]
mod tests {
    //! Scope: what crosses the pipe. Real users are in the sample's tests, as root.

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn judgements_survive_the_pipe(texts in prop::collection::vec("[^\u{1e}\u{1f}]{0,20}", 6)) {
            let reason = |at: usize| Reason {
                constraint: texts[at].clone(),
                observed: texts[at + 1].clone(),
                source: texts[at + 2].clone(),
            };
            let judgements = vec![
                Judgement { standing: Standing::Met, reasons: Vec::new() },
                Judgement { standing: Standing::Unmet, reasons: vec![reason(0), reason(3)] },
                Judgement { standing: Standing::Undetermined, reasons: vec![reason(3)] },
            ];
            let mut text = String::new();
            for judgement in &judgements {
                encode(judgement, &mut text);
            }
            prop_assert_eq!(decode(&text), Some(judgements));
        }

        #[test]
        fn garbage_never_panics(text in any::<String>()) {
            let _ = decode(&text);
        }
    }
}
