//! What the configuration requires of plain tests, evaluated in a place.
//!
//! A plain binary has no constraints in it, so another program evaluates them there.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use crate::answer_cache::AnswerCache;
use crate::error::chain;
use crate::listing::LIST_LIMIT;
use crate::record::reasons;
use crate::{
    Binary, Eligibility, Place, PlaceError, ProcessEnd, RunnerError, SessionCommand, StopToken,
    TestSettings, UserKind,
};
use kata_test_host::constraint::{Constraint, Status, evaluate};
use kata_test_host::facts::{Answer, Finding, Host, Question};
use kata_test_host::reason::Reason;

/// The package folder of the program that evaluates constraints: it needs no files.
const NO_FILES: &str = "no-files";

/// A program that evaluates constraints where it runs: `cargo kata-test facts --json`.
#[derive(Clone, Debug)]
pub struct FactsProgram {
    /// The executable.
    pub executable: PathBuf,
    /// Its arguments, before the constraints.
    pub arguments: Vec<String>,
    /// The folder of all records, where verdicts are cached.
    pub records: PathBuf,
}

/// Verdicts in one place as one kind of user, by the texts of their constraints.
#[derive(Debug, Default)]
pub(super) struct Verdicts(BTreeMap<String, Eligibility>);

impl FactsProgram {
    /// Returns the verdicts on constraints in a place, from the cache if it has them. `None` if the place
    /// cannot be used, which is reported through `progress`.
    pub(super) fn verdicts(
        &self,
        place: &mut dyn Place,
        user: UserKind,
        constraints: &BTreeSet<String>,
        stop: StopToken<'_>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Option<Verdicts>, RunnerError> {
        let folder = self.records.join(NO_FILES);
        fs::create_dir_all(&folder).map_err(RunnerError::io("create", &folder))?;
        let binary = Binary {
            id: format!("requirements of {user}"),
            executable: self.executable.clone(),
            folder,
            ..Binary::default()
        };
        let constraints: Vec<String> = constraints.iter().cloned().collect();
        let cache = match place.key() {
            Some(key) => {
                let questions = constraints.iter().flat_map(|text| questions_of_text(text));
                let questions: Vec<String> = questions.collect();
                Some(AnswerCache::open(&self.records, &key, &questions)?)
            }
            None => None,
        };
        let cached = cache
            .as_ref()
            .and_then(|cache| cache.text(&binary, &constraints));
        if let Some(verdicts) = cached.and_then(|text| Verdicts::parse(&text).ok()) {
            return Ok(Some(verdicts));
        }
        let name = place.name().to_owned();
        progress(&format!("evaluating requirements in {name} as {user}"));
        let text = match self.run(place, &binary, user, &constraints, stop) {
            Ok(Some(text)) => text,
            Ok(None) => return Err(RunnerError::Stopped),
            Err(error) => {
                let why = chain(&*error);
                progress(&format!("{name} cannot evaluate requirements: {why}"));
                return Ok(None);
            }
        };
        match Verdicts::parse(&text) {
            Ok(verdicts) => {
                if let Some(cache) = cache {
                    cache.keep_text(&binary, &constraints, &text)?;
                }
                Ok(Some(verdicts))
            }
            Err(error) => {
                progress(&format!(
                    "{name} cannot evaluate requirements: {error}: {}",
                    text.trim()
                ));
                Ok(None)
            }
        }
    }

    /// Runs the program, and returns its output; `None` if the run was stopped.
    fn run(
        &self,
        place: &mut dyn Place,
        binary: &Binary,
        user: UserKind,
        constraints: &[String],
        stop: StopToken<'_>,
    ) -> Result<Option<String>, PlaceError> {
        // Where the tests find modules loaded, so must this program.
        let questions = constraints.iter().flat_map(|text| questions_of_text(text));
        let binary = Binary {
            questions: questions.collect(),
            ..binary.clone()
        };
        let mut session = place.open(&binary, user, stop)?;
        let arguments = self.arguments.iter().chain(constraints);
        let arguments: Vec<&OsStr> = arguments.map(OsStr::new).collect();
        let command = SessionCommand {
            artifacts: None,
            program: None,
            arguments: &arguments,
            env: &[],
            limit: LIST_LIMIT,
            stop,
        };
        let mut output = Vec::new();
        let end = session.run(&command, &mut |bytes| output.extend_from_slice(bytes))?;
        let output = String::from_utf8_lossy(&output).into_owned();
        match end {
            ProcessEnd::Stopped => Ok(None),
            // The second: a constraint is not met.
            ProcessEnd::Exited(0 | 1) => Ok(Some(output)),
            end => Err(format!(
                "{} ended with {end}: {}",
                self.executable.display(),
                output.trim()
            )
            .into()),
        }
    }
}

impl Verdicts {
    fn parse(text: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Document {
            verdicts: Vec<Verdict>,
        }
        #[derive(Deserialize)]
        struct Verdict {
            constraint: String,
            verdict: String,
            #[serde(with = "reasons")]
            reasons: Vec<Reason>,
        }
        let document: Document = serde_json::from_str(text)?;
        let eligibility = |verdict: Verdict| {
            // Another word is of a later version.
            let status = Status::from_word(&verdict.verdict).unwrap_or(Status::Undetermined);
            let eligibility = Eligibility::new(status, verdict.reasons);
            (verdict.constraint, eligibility)
        };
        Ok(Self(
            document.verdicts.into_iter().map(eligibility).collect(),
        ))
    }

    /// One verdict on each of these constraints.
    #[cfg(test)]
    pub(super) fn made_up(requires: &[Constraint], verdict: &str) -> Self {
        let status = Status::from_word(verdict).expect("a verdict");
        let eligibility = Eligibility::new(status, Vec::new());
        let verdict = |one: &Constraint| (one.to_string(), eligibility.clone());
        Self(requires.iter().map(verdict).collect())
    }

    /// Returns the verdict on all of these constraints.
    pub(super) fn of(&self, requires: &[Constraint], place: &str) -> Eligibility {
        let mut all = Eligibility::new(Status::Met, Vec::new());
        for constraint in requires {
            let Some(one) = self.0.get(&constraint.to_string()) else {
                return Eligibility::unknown();
            };
            all.status = match (all.status, one.status) {
                (Status::Unmet, _) | (_, Status::Unmet) => Status::Unmet,
                (Status::Met, status) => status,
                (status, _) => status,
            };
            all.reasons.extend(one.reasons.iter().map(|reason| {
                let mut reason = reason.clone();
                reason.source = format!("{}, {place}", reason.source);
                reason
            }));
        }
        all
    }
}

/// Returns the questions that constraints ask about a host, such as `module dummy`.
pub(super) fn questions(requires: &[Constraint]) -> Vec<String> {
    let asked = Asked::default();
    let _ = evaluate(requires, &asked);
    asked.0.into_inner().into_iter().collect()
}

/// Returns the questions that constraints in the grammar of the attribute ask about a host, such as `module dummy`.
#[must_use]
pub fn questions_of_text(text: &str) -> Vec<String> {
    kata_test_host::constraint::parse(text).map_or(Vec::new(), |list| questions(&list))
}

/// The texts of what the configuration requires of these tests, and of when they are expected to fail.
pub(super) fn texts<'a>(settings: impl Iterator<Item = &'a TestSettings>) -> BTreeSet<String> {
    let texts = settings.flat_map(|one| {
        let expected = one.expect_failure.as_ref();
        let expected = expected.and_then(|expected| expected.constraints_text.as_ref());
        one.requires_texts.iter().chain(expected)
    });
    texts.cloned().collect()
}

/// A host that answers nothing, and remembers what it is asked.
#[derive(Default)]
struct Asked(RefCell<BTreeSet<String>>);

impl Host for Asked {
    fn ask(&self, question: Question) -> Cow<'_, Answer> {
        self.0.borrow_mut().insert(question.to_string());
        let finding = Finding::Unknown(String::new());
        Cow::Owned(Answer::new(finding, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kata_test_host::constraint::parse;

    fn constraints(text: &str) -> Vec<Constraint> {
        parse(text).expect("constraints")
    }

    #[test]
    fn all_constraints_have_to_be_met_and_reasons_name_the_place() {
        let text = r#"{"schema": 1, "facts": [], "verdicts": [
            {"constraint": "root", "verdict": "unmet", "reasons": [
                {"kind": "constraint", "constraint": "root", "observed": "uid 1000", "source": "geteuid"}]},
            {"constraint": "kernel >= 5.10", "verdict": "met", "reasons": []},
            {"constraint": "kvm", "verdict": "undetermined", "reasons": []}]}"#;
        let verdicts = Verdicts::parse(text).expect("verdicts");
        let status = |text| verdicts.of(&constraints(text), "vm:a").status;
        assert_eq!(status("kernel_ge = \"5.10\""), Status::Met);
        assert_eq!(status("root, kernel_ge = \"5.10\""), Status::Unmet);
        assert_eq!(status("kvm, root"), Status::Unmet);
        assert_eq!(status("kvm, kernel_ge = \"5.10\""), Status::Undetermined);
        assert!(verdicts.of(&constraints("cgroup = \"v2\""), "vm:a").is_open);
        let reasons = verdicts.of(&constraints("root"), "vm:a").reasons;
        assert_eq!(
            reasons[0].to_string(),
            "needs root: uid 1000 (geteuid, vm:a)"
        );
    }

    #[test]
    fn questions_of_nested_constraints_are_found() {
        let asked = questions(&constraints(
            "any(module = \"dummy\", not(module = \"tun\"))",
        ));
        assert_eq!(asked, ["module dummy", "module tun"]);
    }
}
