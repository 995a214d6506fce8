//! How often tests run, and in which order.

use std::ffi::OsString;
use std::num::NonZeroU32;

use kata_test::__runner::{REPEAT, RETRIES};

/// How often each test of a run runs, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// How often a test that fails runs again; `None`: as often as the test or the configuration states.
    pub retries: Option<u32>,
    /// How often each test runs, until it fails. If it is more than 1, no test is retried.
    pub repeat: NonZeroU32,
    /// The seed of a random order.
    pub shuffle: Option<u64>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            retries: None,
            repeat: NonZeroU32::MIN,
            shuffle: None,
        }
    }
}

impl Attempts {
    /// The variables by which kata-test's harness learns it.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, OsString)> {
        let retries = self.retries.map(|count| (RETRIES, count.to_string()));
        let repeat = (self.repeat.get() > 1).then(|| (REPEAT, self.repeat.to_string()));
        let seed = self.shuffle;
        let seed = seed.map(|seed| ("RUST_TEST_SHUFFLE_SEED", seed.to_string()));
        let all = retries.into_iter().chain(repeat).chain(seed);
        all.map(|(name, value)| (name, value.into())).collect()
    }

    /// How often a test runs at most that states this number of retries.
    #[must_use]
    pub fn most(&self, stated: Option<u32>) -> u32 {
        let retries = self.retries.or(stated).unwrap_or_default();
        match self.repeat.get() {
            1 => retries.saturating_add(1),
            repeat => repeat,
        }
    }
}
