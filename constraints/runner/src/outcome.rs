//! What became of a test, as read from a record.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use kata_test_host::verdict::Reason;

/// What became of one test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The version of the record's form.
    pub schema: u32,
    /// The id of the run.
    pub run: String,
    /// The test binary, by nextest's id.
    pub binary: String,
    /// The test, by libtest's name.
    pub test: String,
    /// Where it ran.
    pub place: String,
    /// Whether a harness listed it or ran it.
    pub phase: Phase,
    /// Which attempt this was, from 1.
    pub attempt: u32,
    /// The effective uid it ran with.
    pub as_uid: u32,
    /// What became of it.
    pub outcome: OutcomeKind,
    /// Every constraint that kept it from running, or that could not be decided; and what it left
    /// behind.
    #[serde(with = "reasons")]
    pub reasons: Vec<Reason>,
    /// The issue the test cites.
    pub issue: Option<String>,
    /// Why the test has its constraints, or why it is ignored.
    pub reason: Option<String>,
    /// The signal that ended its process: `SIGSEGV`.
    pub signal: Option<String>,
    /// How long it ran, in milliseconds.
    pub duration_ms: f64,
    /// What it measured.
    pub measures: BTreeMap<String, f64>,
}

/// What can become of a test. The order is that of what a person should see first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OutcomeKind {
    /// It failed.
    Failed,
    /// Its time was up.
    TimedOut,
    /// It began and its process vanished.
    Lost,
    /// A constraint could not be decided.
    Undetermined,
    /// It passed.
    Passed,
    /// No place could run it.
    Nowhere,
    /// A constraint is unmet.
    Skipped,
    /// It is marked `#[ignore]`.
    Ignored,
}

impl OutcomeKind {
    /// Says whether the run as a whole fails by this.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(
            self,
            Self::Failed | Self::TimedOut | Self::Lost | Self::Undetermined
        )
    }

    /// Says whether a place is missing where the test could have run.
    pub(super) fn is_nowhere(self) -> bool {
        matches!(self, Self::Nowhere | Self::Skipped)
    }
}

impl fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Lost => "lost",
            Self::Undetermined => "undetermined",
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::Ignored => "ignored",
            Self::Nowhere => "nowhere",
        })
    }
}

/// What the harness was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Listing tests, where nextest is told what is skipped.
    List,
    /// Running tests.
    Run,
}

/// The form of a reason, kept out of the core, which has no serde.
pub(super) mod reasons {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use kata_test_host::verdict::Reason;

    #[derive(Serialize, Deserialize)]
    #[serde(remote = "Reason")]
    struct Form {
        constraint: String,
        observed: String,
        source: String,
    }

    #[derive(Deserialize)]
    struct Read(#[serde(with = "Form")] Reason);

    #[derive(Serialize)]
    struct Written<'a>(#[serde(with = "Form")] &'a Reason);

    pub(crate) fn serialize<S: Serializer>(reasons: &[Reason], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(reasons.iter().map(Written))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Reason>, D::Error> {
        let read = Vec::<Read>::deserialize(from)?;
        Ok(read.into_iter().map(|Read(reason)| reason).collect())
    }
}
