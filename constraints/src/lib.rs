//! Tests that say what they need.
//!
//! ```
//! # mod unit {
//! use kata_test::kata_test;
//!
//! #[kata_test(root, kernel_ge = "5.0.10", issue = "kata-containers/runtime#1234")]
//! fn mounts_a_tmpfs() {
//!     // Runs only where it can; elsewhere it is skipped, with every reason on screen.
//! }
//! # }
//! ```
//!
//! A test target with `harness = false` in its `Cargo.toml` and `kata_test::main!();` at its root
//! shows a skip as `ignored, needs root: effective uid is 1000 (geteuid)`, under `cargo test` and
//! under nextest. Without `harness = false` the same attribute works under Rust's own harness, which
//! knows no skip at run time: there it is announced on the terminal and counted at the end.
//!
//! A constraint is [met](Verdict::Met), [unmet](Verdict::Unmet), or
//! [undetermined](Verdict::Undetermined): met runs, unmet skips, and undetermined fails, since
//! neither running nor skipping by guess would be honest.

pub mod constraint;
pub mod facts;
mod harness;
mod libtest;
mod measure;
mod record;
mod registry;
#[cfg(feature = "runner")]
pub mod runner;
mod sys;
mod verdict;

pub use kata_test_macros::{kata_test, test};

pub use crate::measure::measure;
pub use crate::verdict::{Evidence, Reason, Verdict};

/// What the macros expand to. Not for use by hand, and without any promise of stability.
#[doc(hidden)]
pub mod __private {
    pub use crate::harness::main;
    pub use crate::libtest::libtest;
    pub use crate::registry::{Target, Test, succeeded};
    pub use inventory;
}

/// Writes the `main` function of a test target that has `harness = false`.
///
/// In a library with `[lib] harness = false`, write `#[cfg(test)] kata_test::main!();`.
#[macro_export]
macro_rules! main {
    () => {
        fn main() -> ::std::process::ExitCode {
            $crate::__private::main($crate::__target!())
        }
    };
}

/// The target being compiled, as Cargo tells it to the compiler.
#[doc(hidden)]
#[macro_export]
macro_rules! __target {
    () => {
        $crate::__private::Target {
            package: ::core::option_env!("CARGO_PKG_NAME"),
            krate: ::core::option_env!("CARGO_CRATE_NAME"),
            bin: ::core::option_env!("CARGO_BIN_NAME"),
            tmpdir: ::core::option_env!("CARGO_TARGET_TMPDIR"),
            file: ::core::file!(),
        }
    };
}
