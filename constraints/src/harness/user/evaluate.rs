//! Evaluates constraints as another user: in a child that drops its privileges and observes every fact
//! anew.
#![expect(
    unsafe_code,
    reason = "only a process with one thread may fork for any code"
)]

use std::borrow::Cow;
use std::time::Duration;

use super::{Home, User, inaccessible, required_paths};
use crate::constraint::{Constraint, Evaluation, Status, evaluate};
use crate::facts::{self, Answer, Here, Host, Question};
use crate::harness::threads;
use crate::reason::Reason;
use crate::registry::Test;
use crate::sys::{Message, Sends, TRUNCATED, answer_within};

/// The time limit for one test: a probe has ten seconds, and there can be several.
const LIMIT: Duration = Duration::from_secs(60);

/// Evaluates the constraints of tests as a user.
pub(in crate::harness) fn evaluate_as(user: User, tests: &[&Test]) -> Vec<Evaluation> {
    let failed = |problem: String| {
        let uid = user.uid();
        let reason = Reason::infrastructure(
            format!("cannot evaluate constraints as uid {uid}: {problem}"),
            "fork",
        );
        vec![undetermined(reason); tests.len()]
    };
    // A run refuses a process with threads; a list does not, and forks for nothing else.
    if let Some(problem) = threads::problem().filter(|_| !threads::are_allowed()) {
        return failed(problem);
    }
    let limit = LIMIT.saturating_mul(u32::try_from(tests.len()).unwrap_or(u32::MAX));
    // The user may have no access to the current folder, not even to its name.
    let required = required_paths();
    let home = match Home::make(user) {
        Ok(home) => home,
        Err(error) => return failed(format!("cannot create its home: {error}")),
    };
    let work = |send: &Sends<'_>| {
        let parent = nix::unistd::getppid();
        let isolates = |test: &&Test| test.constraints.iter().any(Constraint::isolates_network);
        let network = tests.iter().any(isolates);
        let network = network.then(|| Here.ask(Question::IsolatedNetwork).into_owned());
        let evaluations: Vec<Evaluation> = match user.drop_privileges(parent) {
            Err(problem) => {
                let reason = Reason::infrastructure(problem, "setresuid");
                vec![undetermined(reason); tests.len()]
            }
            Ok(()) => {
                user.enter_session(&home);
                facts::forget();
                match inaccessible(&required) {
                    Some(problem) => vec![unmet(user, &problem); tests.len()],
                    None => {
                        let host = Dropped { network };
                        let evaluate = |test: &&Test| evaluate(test.constraints, &host);
                        tests.iter().map(evaluate).collect()
                    }
                }
            }
        };
        let lines: String = evaluations.iter().map(encode).collect();
        send(lines.as_bytes());
        // By way of exit hooks, which write coverage counters.
        std::process::exit(0);
    };
    // SAFETY: the harness has one thread, or its user has accepted the risk.
    let answer = unsafe { answer_within(limit, work) };
    match answer {
        Ok(bytes) => decode(&bytes)
            .filter(|evaluations| evaluations.len() == tests.len())
            .unwrap_or_else(|| failed(TRUNCATED.to_owned())),
        Err(problem) => failed(problem.to_string()),
    }
}

/// This host, where root creates the network of a test before the test's process drops its privileges.
struct Dropped {
    network: Option<Answer>,
}

impl Host for Dropped {
    fn ask(&self, question: Question) -> Cow<'_, Answer> {
        match (question, &self.network) {
            (Question::IsolatedNetwork, Some(network)) => Cow::Borrowed(network),
            _ => Here.ask(question),
        }
    }
}

/// The verdict on a test whose user cannot be looked up.
pub(in crate::harness) fn unknown_user(problem: String) -> Evaluation {
    undetermined(Reason::infrastructure(problem, "user database"))
}

fn undetermined(reason: Reason) -> Evaluation {
    Evaluation {
        status: Status::Undetermined,
        reasons: vec![reason],
    }
}

fn unmet(user: User, problem: &str) -> Evaluation {
    let observed = format!("uid {} {problem}", user.uid());
    Evaluation {
        status: Status::Unmet,
        reasons: vec![Reason::constraint(
            "non_root",
            observed,
            "setresuid, access",
        )],
    }
}

/// The kind of the message about a reason of the evaluation before it.
const REASON: &str = "reason";

fn encode(evaluation: &Evaluation) -> String {
    let reasons = evaluation.reasons.iter();
    let reasons = reasons.map(|reason| Message::with_reason(REASON, reason).encode());
    std::iter::once(Message::new(evaluation.status.word(), &[]).encode())
        .chain(reasons)
        .collect()
}

fn decode(bytes: &[u8]) -> Option<Vec<Evaluation>> {
    let mut evaluations: Vec<Evaluation> = Vec::new();
    for message in Message::decode_all(bytes)? {
        if message.kind == REASON {
            evaluations.last_mut()?.reasons.push(message.reason()?);
        } else {
            evaluations.push(Evaluation {
                status: Status::from_word(&message.kind)?,
                reasons: Vec::new(),
            });
        }
    }
    Some(evaluations)
}

#[cfg(test)]
mod tests {
    //! Scope: what crosses the pipe. Real users are in the sample's tests, as root.

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What the child sends is not trusted. What is read of it is sent alike.
        #[test]
        fn any_lines_are_refused_or_read(
            lines in prop::collection::vec("((met|unmet|undetermined|reason|\\PC{0,4})(\t(constraint|leak|\\PC{0,4})){0,5})", 0..6),
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            if let Some(evaluations) = decode(text.as_bytes()) {
                let reasons: usize = evaluations.iter().map(|one| one.reasons.len()).sum();
                prop_assert_eq!(evaluations.len() + reasons, lines.len());
                let again: String = evaluations.iter().map(encode).collect();
                prop_assert_eq!(decode(again.as_bytes()), Some(evaluations));
            }
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in any::<Vec<u8>>()) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn evaluations_are_read_back() {
        let reason = |text: &str| Reason::constraint(text, "a\tb\n", "c");
        let evaluations = vec![
            Evaluation {
                status: Status::Met,
                reasons: Vec::new(),
            },
            Evaluation {
                status: Status::Unmet,
                reasons: vec![reason("x"), Reason::infrastructure("y", "z")],
            },
            undetermined(reason("y").with_alternatives(vec!["a".to_owned(), "b".to_owned()])),
        ];
        let lines: String = evaluations.iter().map(encode).collect();
        assert_eq!(decode(lines.as_bytes()), Some(evaluations));
        for bad in [
            &lines.as_bytes()[..lines.len() - 1],
            b"other\n",
            b"reason\ta\n",
        ] {
            assert_eq!(decode(bad), None);
        }
    }
}
