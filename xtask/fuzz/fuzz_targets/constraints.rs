//! The grammar of constraints, and their evaluation by Kleene's logic.

#![no_main]

use std::borrow::Cow;

use kata_test_host::constraint::{Constraint, Status, evaluate, parse};
use kata_test_host::facts::{Answer, Finding, Host, Question};
use libfuzzer_sys::fuzz_target;

/// A host that answers every question alike.
struct Same(Finding);

impl Host for Same {
    fn ask(&self, _: Question) -> Cow<'_, Answer> {
        Cow::Owned(Answer::new(self.0.clone(), "fuzz"))
    }
}

fuzz_target!(|text: &str| {
    let constraints = match parse(text) {
        Ok(constraints) => constraints,
        Err(error) => {
            assert!(text.is_char_boundary(error.at()), "{}", error.at());
            assert!(error.to_string().len() <= 4 * text.len() + 500, "{error}");
            return;
        }
    };
    let negated = parse(&format!("not(all({text}))"));
    for finding in [
        Finding::Is("6.1.0-18-amd64".into()),
        Finding::Is("9".into()),
        Finding::Absent("gone".into()),
        Finding::Unknown("unread".into()),
    ] {
        let host = Same(finding);
        let status = status(&constraints, &host);
        // An empty list is refused in brackets, and so is one that is too deep.
        if let Ok(negated) = &negated {
            assert_eq!(self::status(negated, &host), opposite(status), "{text:?}");
        }
    }
});

fn status(constraints: &[Constraint], host: &Same) -> Status {
    let evaluation = evaluate(constraints, host);
    assert_eq!(
        evaluation.status == Status::Met,
        evaluation.reasons.is_empty(),
        "{:?}",
        evaluation.reasons
    );
    evaluation.status
}

fn opposite(status: Status) -> Status {
    match status {
        Status::Met => Status::Unmet,
        Status::Unmet => Status::Met,
        Status::Undetermined => Status::Undetermined,
    }
}
