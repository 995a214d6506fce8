//! Lists of tests with their verdicts: for a person, on a recorded host, and for a runner, as JSON
//! lines.

mod json_lines;
pub(super) mod recorded;
mod speed;
mod text;

pub(super) use json_lines::lines;
pub(super) use text::list;
