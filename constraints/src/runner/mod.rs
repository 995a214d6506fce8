//! Many test binaries as one run: where their records go, and what became of each test.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let run = kata_test::runner::Run::start("target/kata-test".as_ref())?;
//! std::process::Command::new("cargo").arg("test").envs(run.env()).status()?;
//! for outcome in run.merge()? {
//!     println!("{} {} {:?}", outcome.binary, outcome.test, outcome.outcome);
//! }
//! # Ok(())
//! # }
//! ```

mod conclusion;
mod error;
mod junit;
mod merge;
mod opt_ins;
mod outcome;
mod run;
mod scan;
mod shards;
mod summary;

pub use crate::verdict::Reason;
pub use conclusion::{Conclusion, conclude};
pub use error::RunnerError;
pub use opt_ins::UnknownOptIn;
pub use outcome::{Outcome, OutcomeKind, Phase};
pub use run::Run;
pub use scan::{Stray, scan};
pub use shards::{Shards, TestId};

#[cfg(test)]
mod tests;
