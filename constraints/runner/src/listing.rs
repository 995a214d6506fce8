//! The list of a test binary's tests with their verdicts.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::elf::has_section;
use super::record::reasons;
use super::{Binary, Fit, RunnerError, StopToken};
use kata_test::__runner::{EXPECT, FACTS, MAY_SKIP};
use kata_test_host::constraint::{Demand, Status};
use kata_test_host::reason::Reason;
use kata_test_host::sys::{Ran, command_until};

/// The arguments with which a test binary of kata-test's harness lists its tests and their verdicts.
pub const LIST_ARGUMENTS: [&str; 2] = ["--list", "--verdicts"];

/// The section that `kata_test::main!` puts into an executable.
pub(super) const MAIN_SECTION: &str = "kata_main";

/// How long a binary may take to list its tests. Each probe of its host has ten seconds.
pub(super) const LIST_LIMIT: Duration = Duration::from_secs(120);

/// The tests of one binary, each with its verdict in one place.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Listing {
    /// How many steps of work the place does in a millisecond.
    pub steps_per_ms: f64,
    /// The tests.
    pub tests: Vec<Listed>,
    /// The answers that the verdicts rest on; none if a recorded host was judged.
    pub facts: Vec<Fact>,
}

/// A test and its verdict.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Listed {
    /// The test, by libtest's name.
    pub test: String,
    /// The verdict; none if the test is marked `#[ignore]`.
    #[serde(rename = "verdict", deserialize_with = "status")]
    status: Option<Status>,
    /// Whether the verdict rests on what was not recorded.
    open: bool,
    /// Its constraints, as reasons name them: `kernel >= 5.10, root`.
    pub needs: String,
    #[serde(with = "reasons")]
    reasons: Vec<Reason>,
    /// The issue that the test cites.
    pub issue: Option<String>,
    /// Why it has its constraints.
    pub reason: Option<String>,
    /// How long it may run, in milliseconds.
    pub timeout_ms: Option<f64>,
    /// How often it runs again if it fails, as it states.
    #[serde(default)]
    pub retries: u32,
    /// Whether it asks for a machine of its own.
    #[serde(default)]
    pub own_machine: bool,
    /// What its constraints ask of a place that can be made to measure.
    #[serde(default, with = "DemandForm")]
    pub demand: Demand,
}

/// The form of a [`Demand`] in a list.
#[derive(Deserialize)]
#[serde(remote = "Demand")]
struct DemandForm {
    cpus: u32,
    memory: u64,
    disk: u64,
    numa_nodes: u32,
    kernel_args: Vec<String>,
    cgroup_v1: bool,
    network: bool,
}

/// Whether a test can run in a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eligibility {
    /// The verdict on its constraints there.
    pub status: Status,
    /// Whether facts of the place that are not known yet may change the verdict.
    pub is_open: bool,
    /// Why it does not certainly run there.
    pub reasons: Vec<Reason>,
}

impl Eligibility {
    /// A verdict on facts that are all known.
    pub(super) fn new(status: Status, reasons: Vec<Reason>) -> Self {
        Self {
            status,
            is_open: false,
            reasons,
        }
    }

    /// The place is for other tests, or cannot have what the test asks for.
    pub(super) fn unfit(fit: Fit) -> Self {
        let reasons = match fit {
            Fit::Lacks(reason) => vec![reason],
            Fit::Fits | Fit::ForOthers => Vec::new(),
        };
        Self::new(Status::Unmet, reasons)
    }

    /// Returns whether the place is for other tests. Any other unmet requirement has a reason.
    #[must_use]
    pub fn is_for_others(&self) -> bool {
        self.status == Status::Unmet && self.reasons.is_empty()
    }

    /// Unmet for this reason, if there is one and the test could run.
    pub(super) fn unless(self, refusal: Option<Reason>) -> Self {
        match refusal {
            Some(reason) if self.status != Status::Unmet => Self::new(Status::Unmet, vec![reason]),
            _ => self,
        }
    }

    /// Nothing is known of the place.
    pub(super) fn unknown() -> Self {
        Self {
            status: Status::Undetermined,
            is_open: true,
            reasons: Vec::new(),
        }
    }
}

impl Listed {
    /// Whether it is marked `#[ignore]`.
    #[must_use]
    pub fn is_ignored(&self) -> bool {
        self.status.is_none()
    }

    /// Returns whether the test can run; none if it is ignored.
    #[must_use]
    pub fn eligibility(&self) -> Option<Eligibility> {
        self.status.map(|status| Eligibility {
            status,
            is_open: self.open,
            reasons: self.reasons.clone(),
        })
    }
}

/// Reads the word for a verdict.
fn status<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Status>, D::Error> {
    let word = String::deserialize(source)?;
    match Status::from_word(&word) {
        None if word != "ignored" => {
            Err(D::Error::custom(format_args!("unknown verdict {word:?}")))
        }
        status => Ok(status),
    }
}

/// A question and its answer, as texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// The question: `kernel release`.
    pub question: String,
    finding: String,
    text: String,
    source: String,
}

impl Fact {
    /// Whether the answer depends on who asks, and not on the place alone.
    pub(super) fn is_of_the_run(&self) -> bool {
        self.is_of_the_environment() || self.question.starts_with("probe ")
    }

    /// Whether the answer comes with the environment, which goes along to every place.
    pub(super) fn is_of_the_environment(&self) -> bool {
        ["env ", "opt-in "]
            .iter()
            .any(|kind| self.question.starts_with(kind))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Binary { steps_per_ms: f64 },
    Test(Listed),
    Fact(Fact),
}

/// A text is not a list of tests.
#[derive(Debug, thiserror::Error)]
#[error("not a list of tests: {0}")]
pub struct ListingError(serde_json::Error);

impl Listing {
    /// Parses what a binary has printed.
    ///
    /// # Errors
    ///
    /// If a line is not of that form.
    pub fn parse(text: &str) -> Result<Self, ListingError> {
        let mut listing = Self::default();
        for line in text.lines() {
            match serde_json::from_str(line).map_err(ListingError)? {
                Line::Binary { steps_per_ms } => listing.steps_per_ms = steps_per_ms,
                Line::Test(test) => listing.tests.push(test),
                Line::Fact(fact) => listing.facts.push(fact),
            }
        }
        Ok(listing)
    }

    /// Lists a binary's tests with verdicts for this host or for a recorded one. `None`: it has another
    /// harness. Such a binary is not started: a `main` that ignores its arguments would run its tests.
    ///
    /// # Errors
    ///
    /// If the binary cannot be run or does not answer, or if the run is to stop meanwhile.
    pub fn of(
        binary: &Binary,
        recorded: Option<&Path>,
        stop: StopToken<'_>,
    ) -> Result<Option<Self>, RunnerError> {
        let has_our_main = has_section(&binary.executable, MAIN_SECTION);
        if !has_our_main.map_err(RunnerError::io("read", &binary.executable))? {
            return Ok(None);
        }
        let mut command = binary.command(&binary.executable);
        command.args(LIST_ARGUMENTS).env_remove("NEXTEST");
        if let Some(path) = recorded {
            // What a host promises is promised of this one alone.
            command
                .env_remove(EXPECT)
                .env_remove(MAY_SKIP)
                .env(FACTS, path);
        }
        let listing = Self::parse(&listed(binary, command, stop)?);
        listing
            .map(Some)
            .map_err(|error| no_list(binary, format!("its output is not a list: {error}")))
    }
}

/// Runs a command that lists tests of a binary, and returns what it prints.
pub(super) fn listed(
    binary: &Binary,
    command: Command,
    stop: StopToken<'_>,
) -> Result<String, RunnerError> {
    let problem = match command_until(LIST_LIMIT, stop.fd(), command) {
        Ran::Ended {
            success: true,
            stdout,
            ..
        } => return Ok(String::from_utf8_lossy(&stdout).into_owned()),
        Ran::Ended { how, stderr, .. } => {
            let stderr = String::from_utf8_lossy(&stderr);
            format!("it {how}: {}", stderr.trim())
        }
        Ran::NotStarted(error) => format!("it cannot be started: {error}"),
        Ran::Stopped => return Err(RunnerError::Stopped),
        Ran::TooLate => format!("it did not exit within {} s", LIST_LIMIT.as_secs()),
    };
    Err(no_list(binary, problem))
}

pub(super) fn no_list(binary: &Binary, problem: String) -> RunnerError {
    RunnerError::List {
        binary: binary.id.clone(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    //! Scope: what is read. What binaries print is tested with the samples.

    use super::*;

    #[test]
    fn a_list_is_parsed_and_other_output_is_refused() {
        let text = concat!(
            r#"{"binary":"p::it","steps_per_ms":12.5}"#,
            "\n",
            r#"{"test":"a","verdict":"undetermined","open":true,"as_uid":null,"needs":"root","#,
            r#""reasons":[{"kind":"constraint","constraint":"root","observed":"not recorded","source":"x"}],"#,
            r#""issue":null,"reason":null,"timeout_ms":null}"#,
            "\n",
            r#"{"question":"env HOME","finding":"is","text":"/","source":"env"}"#,
            "\n",
        );
        let listing = Listing::parse(text).expect("a list");
        assert_eq!(listing.steps_per_ms, 12.5);
        let eligibility = listing.tests[0].eligibility().expect("not ignored");
        assert_eq!(eligibility.status, Status::Undetermined);
        assert!(eligibility.is_open);
        assert_eq!(eligibility.reasons.len(), 1);
        assert!(listing.facts[0].is_of_the_run());
        assert!(Listing::parse("running 3 tests\n").is_err());
        let ignored = text.replace("undetermined", "ignored");
        let listing = Listing::parse(&ignored).expect("a list");
        assert!(listing.tests[0].is_ignored());
        assert!(Listing::parse(&text.replace("undetermined", "perhaps")).is_err());
    }
}
