//! Lists with verdicts: for a person who asks how a recorded host would fare, and for a runner that
//! looks for places.

mod lines;
pub(super) mod recorded;
mod speed;
mod text;

pub(super) use lines::lines;
pub(super) use text::list;
