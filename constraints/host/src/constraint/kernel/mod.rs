//! Kernel versions: the requirement sets the precision.
//!
//! `kernel_ge = "6.1"` compares two components of the running kernel, whatever the third is and
//! whatever a distribution appended. A suffix counts only if the requirement states one. Semver's
//! own rule, by which `6.1.0-18-amd64` is a pre-release older than `6.1.0`, is wrong for kernels.

mod compare;
mod range;
mod release;
mod requirement;

pub use super::operator::Operator;
pub(crate) use compare::compare;
pub use range::Range;
pub(crate) use range::{Span, span_of};
pub(crate) use release::Release;
pub use requirement::Requirement;
