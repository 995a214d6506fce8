//! What a test needs, what the host is, and the verdict. This is what [kata-test] judges by, without
//! its harness: whoever wants to know whether a host has a usable KVM can ask here.
//!
//! ```
//! use kata_test_host::constraint::{Standing, judge, parse};
//! use kata_test_host::facts::Here;
//!
//! let needs = parse(r#"kvm, kernel_ge = "6.1""#).expect("constraints");
//! let judgement = judge(&needs, &Here);
//! for reason in &judgement.reasons {
//!     println!("{reason}"); // needs kvm: there is no /dev/kvm (…)
//! }
//! assert_eq!(judgement.standing == Standing::Met, judgement.reasons.is_empty());
//! ```
//!
//! A crate of its own, so that the compiler makes code of it while it reads the harness.
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
