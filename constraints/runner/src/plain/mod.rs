//! Plain tests: those of binaries with Rust's own harness, libtest, or another that has its options.
//!
//! Each runs in a process of its own. Nothing is known of what they need, so a test that passes while its
//! output says that it skips, or that fails for lack of permission, is run again in other places.

mod binary_kind;
mod dispatch;
mod expected;
mod kvm;
mod list;
mod planned;
mod printed;
mod requirements;
mod result;
mod routes;
mod screen;
mod suspect;
mod task;
mod transcript;

use std::num::NonZeroUsize;
use std::time::Duration;

use super::{Attempts, Spread, TestId, TestSettings, Vms};

pub use binary_kind::{BinaryKind, binary_kind};
pub use dispatch::{PlainRun, run_plain};
pub use list::list_plain;
pub use planned::{PlannedPlain, plan_plain};
pub use requirements::{FactsProgram, questions_of_text};
pub use suspect::SuspectPattern;

/// The time limit of a test, if nothing else states one.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(10 * 60);

/// A plain test.
#[derive(Clone, Debug)]
pub struct PlainTest {
    /// Which test.
    pub id: TestId,
    /// The reason of `#[ignore]`, empty if it states none; `None` if the test is not ignored.
    pub ignored: Option<String>,
    /// Whether it runs; otherwise it is reported as ignored.
    pub runs: bool,
    /// What the configuration states about it.
    pub settings: TestSettings,
}

/// How plain tests run.
#[derive(Clone, Debug)]
pub struct PlainOptions {
    /// How long a test may run; `None`: as long as the configuration states, or else 10 minutes.
    pub limit: Option<Duration>,
    /// How many run at once on this host.
    pub threads: NonZeroUsize,
    /// How many VMs of a place run tests at once.
    pub vms: Vms,
    /// Whether no test starts after one has failed.
    pub fail_fast: bool,
    /// How often each runs, and in which order.
    pub attempts: Attempts,
    /// In how many places each runs.
    pub spread: Spread,
    /// Finds output that says that a test skips.
    pub pattern: SuspectPattern,
}

impl Default for PlainOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism();
        Self {
            limit: None,
            threads: threads.unwrap_or(NonZeroUsize::MIN),
            vms: Vms::default(),
            fail_fast: false,
            attempts: Attempts::default(),
            spread: Spread::First,
            pattern: SuspectPattern::default(),
        }
    }
}
