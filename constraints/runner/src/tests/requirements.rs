//! Scope: what the configuration requires decides where a plain test runs and as which user, with made-up
//! places. Real ones are in `tests/places/requirements.rs` of cargo-kata-test.

use std::path::Path;
use std::time::Duration;

use crate::{
    Binary, CandidatePlace, FactsProgram, Job, Place, PlaceError, PlainOptions, PlainRun,
    PlainTest, ProcessEnd, Reporter, Run, Session, SessionCommand, StopToken, TestId, TestSettings,
    UserKind, plan_plain, run_plain,
};
use kata_test_host::constraint::parse;

const PROGRAM: &str = "/a/program";

/// A place with a kernel, or one that does not come up.
struct MadeUp {
    name: &'static str,
    kernel: Option<&'static str>,
}

impl Place for MadeUp {
    fn name(&self) -> &str {
        self.name
    }

    fn about(&self) -> String {
        "made up".to_owned()
    }

    fn cost(&self) -> Duration {
        Duration::ZERO
    }

    fn key(&self) -> Option<String> {
        None
    }

    fn list(&mut self, _: &Binary, _: &[String], _: StopToken<'_>) -> Result<String, PlaceError> {
        panic!("there are plain tests only")
    }

    fn run(&mut self, _: &Job<'_>, _: &mut dyn FnMut(&[u8])) -> Result<(), PlaceError> {
        panic!("there are plain tests only")
    }

    fn open<'a>(
        &'a mut self,
        binary: &'a Binary,
        user: UserKind,
        _: StopToken<'a>,
    ) -> Result<Box<dyn Session + 'a>, PlaceError> {
        let kernel = self.kernel.ok_or("it does not boot")?;
        let evaluates = binary.executable == Path::new(PROGRAM);
        Ok(Box::new(MadeUpSession {
            kernel,
            user,
            evaluates,
        }))
    }
}

struct MadeUpSession {
    kernel: &'static str,
    user: UserKind,
    evaluates: bool,
}

impl Session for MadeUpSession {
    fn run(
        &mut self,
        command: &SessionCommand<'_>,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<ProcessEnd, PlaceError> {
        if !self.evaluates {
            output(b"test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\n");
            return Ok(ProcessEnd::Exited(0));
        }
        assert_eq!(command.arguments[0], "evaluate");
        let verdict = |constraint: &str, is_met: bool, observed: &str| {
            let verdict = if is_met { "met" } else { "unmet" };
            let reason = format!(
                r#"{{"kind":"constraint","constraint":"{constraint}","observed":"{observed}","source":"made up"}}"#
            );
            let reasons = if is_met { "" } else { &reason };
            format!(
                r#"{{"constraint":"{constraint}","verdict":"{verdict}","reasons":[{reasons}]}}"#
            )
        };
        let is_root = self.user == UserKind::Root;
        let verdicts = [
            verdict("root", is_root, "not root"),
            verdict("kernel >= 6.10", self.kernel >= "6.10", self.kernel),
        ];
        let document = format!(r#"{{"verdicts":[{}]}}"#, verdicts.join(","));
        output(document.as_bytes());
        Ok(ProcessEnd::Exited(1))
    }

    fn uid(&self) -> u32 {
        match self.user {
            UserKind::Root => 0,
            UserKind::Unprivileged => 1000,
        }
    }
}

fn test(name: &str, requires: &str, user: Option<UserKind>) -> PlainTest {
    PlainTest {
        id: TestId {
            binary: "p::it".to_owned(),
            test: name.to_owned(),
        },
        ignored: None,
        runs: true,
        settings: TestSettings {
            requires: parse(requires).expect("constraints"),
            requires_texts: vec![requires.to_owned()],
            user,
            ..TestSettings::default()
        },
    }
}

fn tests() -> Vec<PlainTest> {
    let unprivileged = Some(UserKind::Unprivileged);
    vec![
        test("needs_a_new_kernel", r#"kernel_ge = "6.10""#, unprivileged),
        test("needs_both", r#"root, kernel_ge = "6.10""#, None),
        test("needs_root", "root", None),
        test("needs_the_impossible", "root", unprivileged),
    ]
}

fn candidates(kernels: [Option<&'static str>; 2]) -> Vec<CandidatePlace> {
    let place = |(name, kernel)| CandidatePlace::Place(Box::new(MadeUp { name, kernel }));
    ["vm:old", "vm:new"]
        .into_iter()
        .zip(kernels)
        .map(place)
        .collect()
}

/// Where each test ran, and its reasons.
fn outcomes(candidates: &mut [CandidatePlace], messages: &mut Vec<String>) -> Vec<String> {
    let root = tempfile::tempdir().expect("a folder");
    let run = Run::start(root.path()).expect("a run");
    let program = FactsProgram {
        executable: PROGRAM.into(),
        arguments: vec!["evaluate".to_owned()],
        records: root.path().to_owned(),
    };
    let (tests, options) = (tests(), PlainOptions::default());
    let binary = Binary {
        id: "p::it".to_owned(),
        ..Binary::default()
    };
    let plain = PlainRun {
        binaries: &[binary],
        tests: &tests,
        run: &run,
        options: &options,
        program: Some(&program),
    };
    let mut reporter = Reporter {
        progress: &mut |text| messages.push(text.to_owned()),
        output: &mut |_| {},
        stop: StopToken::NEVER,
    };
    run_plain(&plain, candidates, &mut reporter).expect("records");
    let outcomes = run.merge().expect("outcomes");
    let text = |one: &crate::Record| {
        let reasons: Vec<String> = one.reasons.iter().map(ToString::to_string).collect();
        let user = one.as_uid;
        format!(
            "{}: {} in {} as {user}; {}",
            one.test,
            one.outcome,
            one.place,
            reasons.join("; ")
        )
    };
    outcomes.iter().map(text).collect()
}

#[test]
fn a_test_runs_where_its_requirement_is_met_as_the_user_that_meets_it() {
    let mut messages = Vec::new();
    let found = outcomes(&mut candidates([Some("6.1"), Some("6.12")]), &mut messages);
    insta::assert_snapshot!(found.join("\n"));
    let evaluated = messages
        .iter()
        .filter(|text| text.starts_with("evaluating"));
    assert_eq!(
        evaluated.count(),
        4,
        "in each place as each user: {messages:?}"
    );
}

#[test]
fn a_place_that_cannot_evaluate_takes_tests_as_root_and_its_failure_is_reported() {
    let mut messages = Vec::new();
    let found = outcomes(&mut candidates([None, Some("6.12")]), &mut messages);
    assert!(
        messages
            .iter()
            .any(|text| text == "vm:old cannot evaluate requirements: it does not boot"),
        "{messages:?}"
    );
    let both = found.iter().find(|text| text.starts_with("needs_both"));
    assert_eq!(
        both.map(String::as_str),
        Some("needs_both: passed in vm:new as 0; ")
    );
}

#[test]
fn a_plan_has_the_verdicts() {
    let root = tempfile::tempdir().expect("a folder");
    let program = FactsProgram {
        executable: PROGRAM.into(),
        arguments: vec!["evaluate".to_owned()],
        records: root.path().to_owned(),
    };
    let planned = plan_plain(
        &tests(),
        &mut candidates([Some("6.1"), Some("6.12")]),
        crate::Spread::First,
        &program,
        StopToken::NEVER,
        &mut |_| {},
    );
    let planned = planned.expect("a plan");
    assert_eq!(planned[0].chosen, [(1, UserKind::Unprivileged)]);
    assert_eq!(planned[1].chosen, [(1, UserKind::Root)]);
    assert_eq!(planned[1].unmet[0].0, 0, "the old kernel");
    assert_eq!(planned[2].chosen, [(0, UserKind::Root)]);
    assert!(planned[3].chosen.is_empty() && planned[3].unmet.len() == 2);
}
