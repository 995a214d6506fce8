//! Constraints on a host, the facts that decide them, and verdicts: met, unmet or undetermined.
//!
//! [kata-test] decides with it which tests to run. It does not depend on the test harness, so that other
//! programs can use it.
//!
//! ```
//! use kata_test_host::constraint::{Status, evaluate, parse};
//! use kata_test_host::facts::Here;
//!
//! let constraints = parse(r#"kvm, kernel_ge = "6.1""#).expect("constraints");
//! let evaluation = evaluate(&constraints, &Here);
//! for reason in &evaluation.reasons {
//!     println!("{reason}"); // needs kvm: there is no /dev/kvm (…)
//! }
//! assert_eq!(evaluation.status == Status::Met, evaluation.reasons.is_empty());
//! ```
//!
//! [kata-test]: https://docs.rs/kata-test

#[cfg(not(unix))]
compile_error!(
    "kata-test needs a Unix: move the dependency to `[target.'cfg(unix)'.dev-dependencies]` and \
     put `#[cfg(unix)]` before the tests"
);

#[cfg(unix)]
pub mod constraint;
#[cfg(unix)]
pub mod facts;
#[doc(hidden)]
#[cfg(all(unix, feature = "fuzzing"))]
pub mod fuzzing;
#[cfg(all(unix, test))]
mod hosts;
#[doc(hidden)]
#[cfg(unix)]
pub mod names;
#[doc(hidden)]
#[cfg(unix)]
pub mod reason;
#[doc(hidden)]
#[cfg(unix)]
pub mod sys;
#[doc(hidden)]
#[cfg(unix)]
pub mod verdict;

#[cfg(unix)]
pub use reason::{Reason, ReasonKind};
#[cfg(unix)]
pub use verdict::{Evidence, Verdict};
