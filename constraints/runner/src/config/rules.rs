//! One `[[tests]]`, or one line of `[requirements]`.

use std::time::Duration;

use kata_test_host::constraint::Constraint;

use super::ExpectFailure;
use crate::{Filter, UserKind};

/// What is configured for the tests that match a filter.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) filter: Filter,
    pub(super) requires: Vec<Constraint>,
    /// The same as it is written.
    pub(super) requires_text: Option<String>,
    pub(super) user: Option<UserKind>,
    pub(super) timeout: Option<Duration>,
    pub(super) retries: Option<u32>,
    pub(super) expect_failure: Option<ExpectFailure>,
    pub(super) unstable: Option<String>,
    pub(super) places: Option<Vec<String>>,
    pub(super) parallel: Option<bool>,
    pub(super) root_in_userns: Option<bool>,
}
