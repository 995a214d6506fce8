//! What is known of a test before it runs.

use super::user::User;
use crate::constraint::Judgement;

/// Where a test stands, and whom it would run as if not as this process.
pub(super) enum Judged {
    Ignored(&'static str),
    As(Option<User>, Judgement),
}
