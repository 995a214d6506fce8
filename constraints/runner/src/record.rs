//! A record: what one process wrote about one test.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Artifacts, KernelLog, KernelWarnings, TestId};
use kata_test::__runner::{Outcome, Phase, SCHEMA};
use kata_test_host::reason::Reason;

/// What one process recorded about one test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// The version of the record's form: 1.
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
    #[serde(with = "phase")]
    pub phase: Phase,
    /// Which attempt this was, from 1. 0 is a test that a runner is about to run.
    pub attempt: u32,
    /// The effective uid it ran with.
    pub as_uid: u32,
    /// What became of it.
    #[serde(with = "outcome")]
    pub outcome: Outcome,
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
    /// What it measured by `kata_test::measure`, in the units that the test chose.
    pub measures: BTreeMap<String, f64>,
    /// The line of its output that says that it skips, although it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<String>,
    /// What a plain test printed that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// What the kernel of a VM logged meanwhile, if the test failed or the kernel reported a bug.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_messages: Vec<String>,
    /// The files that it left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Artifacts>,
}

impl Record {
    /// Returns the record of a test that has started in a place and has no result.
    pub(super) fn of(run: &str, test: &TestId, place: &str) -> Self {
        Self {
            schema: SCHEMA,
            run: run.to_owned(),
            binary: test.binary.clone(),
            test: test.test.clone(),
            place: place.to_owned(),
            phase: Phase::Run,
            attempt: 1,
            as_uid: nix::unistd::geteuid().as_raw(),
            outcome: Outcome::Lost,
            reasons: Vec::new(),
            issue: None,
            reason: None,
            signal: None,
            duration_ms: 0.0,
            measures: BTreeMap::new(),
            suspect: None,
            output: None,
            kernel_messages: Vec::new(),
            artifacts: None,
        }
    }

    /// Adds what the kernel logged while the test ran. A warning is applied to its outcome.
    pub fn add_kernel_log(&mut self, log: &KernelLog, warnings: KernelWarnings) {
        log.apply(warnings, &mut self.outcome, &mut self.reasons);
        self.kernel_messages = log.messages_for(self.outcome);
    }
}

/// The names of [`Outcome`]s and [`Phase`]s in records, for serde, which kata-test goes without.
macro_rules! by_word {
    ($module:ident: $type:ty) => {
        mod $module {
            use serde::de::{Deserialize, Deserializer, Error};
            use serde::ser::Serializer;

            pub(super) fn serialize<S: Serializer>(one: &$type, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(one.word())
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(
                from: D,
            ) -> Result<$type, D::Error> {
                let word = std::borrow::Cow::<str>::deserialize(from)?;
                <$type>::from_word(&word).ok_or_else(|| {
                    D::Error::custom(format!("unknown {} {word:?}", stringify!($module)))
                })
            }
        }
    };
}

by_word!(outcome: kata_test::__runner::Outcome);
by_word!(phase: kata_test::__runner::Phase);

/// Reasons in records, for serde.
pub(super) mod reasons {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use kata_test_host::reason::{Reason, ReasonKind};

    #[derive(Serialize, Deserialize)]
    struct Form {
        /// What kind of reason it is: `constraint`, `runtime_skip`, `leak`, `infrastructure` or `kernel`.
        kind: String,
        /// The constraint, in the attribute's grammar. Null with other kinds.
        constraint: Option<String>,
        /// What was observed.
        observed: String,
        /// Where that was observed: a file, a system call, or a line of source code.
        source: String,
    }

    pub(crate) fn serialize<S: Serializer>(reasons: &[Reason], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(reasons.iter().map(|reason| Form {
            kind: reason.kind.word().to_owned(),
            constraint: reason.is_constraint().then(|| reason.constraint.clone()),
            observed: reason.observed.clone(),
            source: reason.source.clone(),
        }))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Reason>, D::Error> {
        let read = Vec::<Form>::deserialize(from)?;
        let reason = |form: Form| {
            let (kind, observed, source) = (form.kind, form.observed, form.source);
            match ReasonKind::from_word(&kind) {
                Some(ReasonKind::Constraint) => {
                    let missing = || D::Error::missing_field("constraint");
                    let constraint = form.constraint.ok_or_else(missing)?;
                    Ok(Reason::constraint(constraint, observed, source))
                }
                Some(ReasonKind::RuntimeSkip) => Ok(Reason::runtime_skip(observed, source)),
                Some(ReasonKind::Leak) => Ok(Reason::leak(observed, source)),
                Some(ReasonKind::Infrastructure) => Ok(Reason::infrastructure(observed, source)),
                Some(ReasonKind::Kernel) => Ok(Reason::kernel(observed)),
                _ => Err(D::Error::custom(format!("unknown kind of reason {kind:?}"))),
            }
        };
        read.into_iter().map(reason).collect()
    }
}
