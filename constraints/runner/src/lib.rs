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

mod about;
mod allowed;
mod attend;
mod binary;
mod cargo;
mod conclusion;
mod elf;
mod elsewhere;
mod error;
mod forms;
mod html;
mod junit;
mod known;
mod ledger;
mod listing;
mod merge;
mod noted;
mod opt_ins;
mod place;
mod plan;
mod record;
mod relay;
mod report;
mod run;
mod scan;
mod shards;
mod stop;
#[cfg(target_os = "linux")]
mod sudo;
mod summary;

pub use allowed::AllowedNowhere;
pub use binary::Binary;
pub use cargo::{CargoError, Workspace};
pub use conclusion::{Conclusion, conclude};
pub use elsewhere::Audience;
pub use error::RunnerError;
pub use kata_test::__runner::{Outcome, Phase};
pub use kata_test_host::reason::{Reason, ReasonKind};
pub use kata_test_host::sys::{is_target, target_folder_of};
pub use ledger::{
    Cited, Column, Findings, Ledger, Nowhere, Retried, Seen, Shared, Stale, Story, Unused,
};
pub use listing::{Fact, LIST_ARGUMENTS, Listed, Listing, Outlook};
pub use opt_ins::UnknownOptIn;
pub use place::{Job, JobTest, Place, PlaceError, RecordedHost, Site};
pub use plan::{Plan, PlannedPlace, PlannedTest, plan};
pub use record::Record;
pub use run::Run;
pub use scan::{EarlyReturn, Stray, early_returns, scan};
pub use shards::{Shards, TestId};
pub use stop::Stop;
#[cfg(target_os = "linux")]
pub use sudo::{SudoError, SudoPlace};

#[cfg(test)]
mod tests;
