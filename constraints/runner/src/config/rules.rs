//! One `[[tests]]`, or one line of `[requirements]`.

use std::time::Duration;

use kata_test_host::constraint::Constraint;

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
    pub(super) places: Option<Vec<String>>,
    pub(super) parallel: Option<bool>,
    pub(super) root_in_userns: Option<bool>,
}
