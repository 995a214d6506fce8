//! Programs that provisioning runs: each dies with us, and each has a deadline.

mod parent_death;
mod run;

pub use parent_death::parent_dies_first;
pub use run::{ChildError, Finished, Run};
