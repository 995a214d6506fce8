//! Many test binaries as one run: where their records go, and what became of each test.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let run = kata_test_runner::Run::start("target/kata-test".as_ref())?;
//! std::process::Command::new("cargo").arg("test").envs(run.env()).status()?;
//! for outcome in run.merge()? {
//!     println!("{} {} {:?}", outcome.binary, outcome.test, outcome.outcome);
//! }
//! # Ok(())
//! # }
//! ```

mod allow_nowhere;
mod answer_cache;
mod artifacts;
mod attempts;
mod binary;
mod cargo;
mod cargo_env;
mod child_io;
mod config;
mod dispatch;
mod durations;
mod elf;
mod error;
mod filter;
mod host_program;
mod html;
mod junit;
mod kernel_log;
mod ledger;
mod listing;
mod merge;
mod opt_ins;
mod outputs;
mod place;
mod plain;
mod plan;
mod plan_document;
mod profiles;
mod record;
mod report;
mod run;
mod run_command;
mod run_info;
mod run_status;
mod scan;
mod secrets;
mod select;
mod session;
mod shards;
mod stop_token;
#[cfg(target_os = "linux")]
mod sudo;
mod summary;
mod test_name;
#[cfg(target_os = "linux")]
mod userns;
mod vms;

pub use allow_nowhere::AllowedNowhere;
pub use artifacts::Artifacts;
pub use attempts::Attempts;
pub use binary::Binary;
pub use cargo::{CargoError, Workspace, cargo};
pub use cargo_env::runner as configured_runner;
pub use config::{
    Archive, Config, ConfigError, Excludes, ExpectFailure, NamedKernel, NamedPlace, SuspectPolicy,
    Suspects, TestSettings, reference as config_reference,
};
pub use dispatch::Reporter;
pub use durations::ExpectedDurations;
pub use error::{RunnerError, chain};
pub use filter::{Filter, FilterError};
pub use host_program::host_program;
pub use kata_test::__runner::{Outcome, Phase, parse_duration};
pub use kata_test_host::reason::{Reason, ReasonKind};
pub use kata_test_host::sys::{is_target, target_folder_of};
pub use kernel_log::{KernelLog, KernelWarnings};
pub use ledger::{
    CitedIssue, Comparison, Difference, Findings, Ledger, LedgerPlace, PlaceOutcome, RetriedTest,
    SharedConstraint, StaleConstraint, TestEntry, UnrunTest, UnusedPlace, plural,
};
pub use listing::{Eligibility, Fact, LIST_ARGUMENTS, Listed, Listing, ListingError};
pub use opt_ins::UnknownOptIn;
pub use place::{CandidatePlace, Job, JobTest, KVM_SUFFIX, Place, PlaceError, RecordedHost};
pub use plain::{
    BinaryKind, DEFAULT_LIMIT, FactsProgram, PlainOptions, PlainRun, PlainTest, PlannedPlain,
    SuspectPattern, binary_kind, list_plain, plan_plain, questions_of_text, run_plain,
};
pub use plan::{Fit, Plan, PlanInput, PlannedPlace, PlannedTest, Spread, plan};
pub use profiles::{PROFILE_FILE, ProfileFile};
pub use record::Record;
pub use run::Run;
pub use run_status::{RunStatus, run_status};
pub use scan::{EarlyReturn, UnregisteredTest, early_returns, unregistered_tests};
pub use secrets::Secrets;
pub use select::{Partition, PartitionError, RunIgnored, Selected, TestSelection};
pub use session::{
    AttachedCommand, LocalSession, ProcessEnd, Session, SessionCommand, Streams, UserKind,
    is_readable_before,
};
pub use shards::{Shards, TestId};
pub use stop_token::StopToken;
#[cfg(target_os = "linux")]
pub use sudo::{SudoError, SudoPlace};

pub use test_name::TestName;
#[cfg(target_os = "linux")]
pub use userns::{UsernsError, UsernsPlace};
pub use vms::Vms;

#[cfg(test)]
mod tests;

/// The example of the README is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
