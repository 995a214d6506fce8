//! `cargo kata-test facts`: prints the facts of this host, or verdicts, or what works here.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use comfy_table::Table;
use guest_vm::artifacts::QemuChoice;
use kata_test::constraint::{Constraint, Status, evaluate, parse};
use kata_test::facts::{Answer, Finding, Here, Host, Question};
use kata_test_runner::FactsProgram;
use serde::Serialize;

use super::table::with_headings;
use super::{doctor, offers};

/// Options of the command.
#[derive(clap::Args)]
pub struct Options {
    /// Prints the facts and verdicts as JSON.
    #[arg(long)]
    json: bool,
    /// Lists the kernels that the distribution's archive has for VMs, the places that have them, and which of
    /// them are in the cache; and says whether this host has the place `userns`.
    #[arg(long, conflicts_with = "constraints")]
    places: bool,
    /// Checks this machine: what works here, what does not, what each lack costs and how to get it. Nothing is
    /// fetched or changed, and no connection is made. The exit code is 1 only if tests can run in no place.
    #[arg(long, conflicts_with_all = ["places", "constraints"])]
    doctor: bool,
    /// With `--places`: lists what the archive had when it was last read, and uses no network.
    #[arg(long, requires = "places")]
    offline: bool,
    /// With `--places`: provides this QEMU, as `--qemu` of `test` does, and prints its version.
    #[arg(long, requires = "places", value_name = "QEMU")]
    qemu: Option<QemuChoice>,
    /// Evaluates these constraints, in the grammar of the attribute: `kvm`,
    /// `command = "qemu-img >= 8.0"`.
    #[arg(value_name = "CONSTRAINT")]
    constraints: Vec<String>,
}

/// Returns this program as one that evaluates constraints in other places.
pub(super) fn program(records: &Path) -> Result<FactsProgram> {
    Ok(FactsProgram {
        executable: std::env::current_exe().context("cannot find this program")?,
        arguments: ["kata-test", "facts", "--json"].map(str::to_owned).into(),
        records: records.to_owned(),
    })
}

/// Runs the command. The exit code is a failure if a constraint is not met.
///
/// # Errors
/// If a constraint is invalid, or the kernels of the archive are not known.
pub fn run(options: &Options) -> Result<ExitCode> {
    if options.doctor {
        return doctor::run(options.json);
    }
    if options.places {
        offers::print(options.qemu.as_ref(), options.offline, options.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut verdicts = Vec::new();
    for text in &options.constraints {
        for constraint in parse(text).with_context(|| format!("{text:?} is not a constraint"))? {
            verdicts.push(Judged::of(constraint));
        }
    }
    if verdicts.is_empty() {
        for question in Question::GENERAL {
            Here.ask(*question);
        }
    }
    let facts = Here::asked();
    if options.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&Document::of(&facts, &verdicts))?
        );
    } else {
        println!("{}", table(&facts));
        for verdict in &verdicts {
            println!("{verdict}");
        }
    }
    let met = verdicts.iter().all(|judged| judged.status == Status::Met);
    Ok(if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A constraint and its verdict on this host.
struct Judged {
    constraint: String,
    status: Status,
    reasons: Vec<kata_test::Reason>,
}

impl Judged {
    fn of(constraint: Constraint) -> Self {
        let evaluation = evaluate(&[constraint], &Here);
        Self {
            constraint: constraint.to_string(),
            status: evaluation.status,
            reasons: evaluation.reasons,
        }
    }
}

impl std::fmt::Display for Judged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is {}", self.constraint, self.status.word())?;
        self.reasons
            .iter()
            .try_for_each(|reason| write!(f, "\n  {reason}"))
    }
}

/// What `--json` prints. The book's page `constraints/docs/records.md` is made from these types.
#[derive(Serialize)]
struct Document<'a> {
    /// The version of this form: 1.
    schema: u32,
    /// The facts that were looked up.
    facts: Vec<FactForm<'a>>,
    /// The verdicts of the constraints that were given.
    verdicts: Vec<VerdictForm<'a>>,
}

#[derive(Serialize)]
struct FactForm<'a> {
    /// What was asked of the host: `kernel`, `command qemu-img`.
    question: String,
    /// `is`, `absent`, or `unknown` if it could not be found out.
    finding: &'static str,
    /// The value, or why there is none. Memory and disk space are in bytes.
    text: &'a str,
    /// Where it was observed.
    source: &'a str,
}

#[derive(Serialize)]
struct VerdictForm<'a> {
    /// The constraint, in the attribute's grammar.
    constraint: &'a str,
    /// `met`, `unmet` or `undetermined`.
    verdict: &'static str,
    /// Why it is not met.
    reasons: Vec<ReasonForm<'a>>,
}

#[derive(Serialize)]
struct ReasonForm<'a> {
    /// Always `constraint`.
    kind: &'static str,
    /// The constraint that is not met, for example one of those in `all(…)`.
    constraint: &'a str,
    /// What was observed.
    observed: &'a str,
    /// Where that was observed.
    source: &'a str,
}

impl<'a> Document<'a> {
    fn of(facts: &'a [(Question, Answer)], verdicts: &'a [Judged]) -> Self {
        let fact = |(question, answer): &'a (Question, Answer)| {
            let (finding, text) = answer.finding.parts();
            FactForm {
                question: question.to_string(),
                finding,
                text,
                source: &answer.source,
            }
        };
        let reason = |reason: &'a kata_test::Reason| ReasonForm {
            kind: reason.kind.word(),
            constraint: &reason.constraint,
            observed: &reason.observed,
            source: &reason.source,
        };
        let verdict = |judged: &'a Judged| VerdictForm {
            constraint: &judged.constraint,
            verdict: judged.status.word(),
            reasons: judged.reasons.iter().map(reason).collect(),
        };
        Self {
            schema: 1,
            facts: facts.iter().map(fact).collect(),
            verdicts: verdicts.iter().map(verdict).collect(),
        }
    }
}

fn table(facts: &[(Question, Answer)]) -> Table {
    let mut table = with_headings(["fact", "", "finding", "source"]);
    for (question, answer) in facts {
        let (mark, text) = displayed(*question, answer);
        table.add_row([
            question.to_string(),
            mark.to_owned(),
            text,
            answer.source.to_string(),
        ]);
    }
    table
}

/// Formats a fact for people: bytes in MiB.
fn displayed(question: Question, answer: &Answer) -> (&'static str, String) {
    match (question, &answer.finding) {
        (Question::MemAvailable | Question::DiskFree, Finding::Is(bytes)) => {
            let mebibytes = bytes.parse::<u64>().unwrap_or_default() >> 20;
            ("", format!("{mebibytes} MiB"))
        }
        (_, Finding::Is(text)) => ("", text.clone()),
        (_, Finding::Absent(text)) => ("no", text.clone()),
        (_, Finding::Unknown(text)) => ("?", text.clone()),
    }
}

#[cfg(test)]
mod tests {
    //! **Scope**: output; kata-test tests the facts.

    use super::*;

    #[test]
    fn table_and_json_have_the_same_facts() {
        let facts = [
            (Question::EffectiveUid, answer(Finding::Is("0".into()))),
            (
                Question::Command("qemu-img"),
                answer(Finding::Absent("none found".into())),
            ),
            (
                Question::Container,
                answer(Finding::Unknown("cannot be read".into())),
            ),
        ];
        let text = table(&facts).to_string();
        let document = serde_json::to_value(Document::of(&facts, &[])).expect("texts");
        for (index, (question, answer)) in facts.iter().enumerate() {
            let fact = &document["facts"][index];
            assert_eq!(fact["question"], question.to_string());
            assert_eq!(fact["finding"], ["is", "absent", "unknown"][index]);
            let (_, finding) = answer.finding.parts();
            assert_eq!(fact["text"], finding);
            assert!(
                text.contains(finding) && text.contains(&question.to_string()),
                "{text}"
            );
        }
        assert!(text.contains('?') && text.contains("no"), "{text}");
    }

    fn answer(finding: Finding) -> Answer {
        Answer {
            finding,
            source: "a test".into(),
        }
    }
}
