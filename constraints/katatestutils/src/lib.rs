//! For ported tests: the API of Kata Containers' Go package `katatestutils` in Rust, and the
//! [macros](#katas-macros) of its crate `test-utils`. Both use the constraints and facts of
//! [kata-test](kata_test).
//!
//! ```
//! # mod unit {
//! use katatestutils::{TestConstraint, need_kernel_version_ge, need_root, with_issue};
//! use kata_test::{kata_test, skip};
//!
//! #[kata_test]
//! fn mounts_a_tmpfs() {
//!     let mut tc = TestConstraint::new(false);
//!     if tc.not_valid(&[need_root(), need_kernel_version_ge("5.0.10"), with_issue("runtime#1586")]) {
//!         // A bare `return` would count as a pass.
//!         skip!("{tc}");
//!     }
//! }
//! # }
//! ```
//!
//! For new tests prefer the [attribute](macro@kata_test::kata_test): it has more constraints, the compiler
//! checks it, and a test cannot ignore its result.
//!
//! # Differences from Go
//!
//! | Go | Rust | reason |
//! |---|---|---|
//! | A distribution's suffix makes a kernel older than its own base: `5.4.0-150-generic` is not `>= 5.4.0`. | The suffix counts only if the requirement states one. | By Semver it is a pre-release, but distributions use it for builds. |
//! | `"5"` or `"5.4"` panics on kernels with three numbers. | It is any 5.x or any 5.4.x. | The requirement sets the precision. |
//! | `3.10` is older than `3.9`, as a decimal fraction. | Components are compared as numbers. | A version is not a fraction. |
//! | `5.15.90.1-microsoft-standard-WSL2`, `5.10.0-007`, `4.4.0+abc` panic. | They are compared. | They are names of real kernels. |
//! | A requirement with `_` (`3.10.0-957.el7.x86_64`) panics: `_` is removed from the running version only. | It is compared as written. | `uname -r` prints it. |
//! | A kernel version of `""` is ignored. | It panics. | An ignored constraint would never skip a test. |
//! | `("version")`, and operators other than `==` and `!=` on a uid, panic when they are checked. | They panic in the constructor. | The message has the line of the mistake. |
//! | The check ends at the first constraint that fails. | All are checked, and all results are kept. | One run shows every problem. |
//! | `WithIssue` after a constraint that fails is lost. | Its position does not matter. | It explains all constraints. |
//! | An unreadable `/proc/version` panics in the constructor, even if no constraint needs it. | The version is read by uname(2) when a constraint needs it. | A missing fact should not fail other tests. |
//! | Operators are private to the package. | [`Operator`] is public. | [`need_uid`] takes one. |
//! | A negative uid, or operator 1234, is an error when checked. | It does not compile. | The types are `u32` and an enum. |
//! | One `TestConstraint` shared by parallel tests is a race. | [`not_valid`](TestConstraint::not_valid) takes `&mut self`. | The compiler refuses the race. |
//! | A running kernel with one number is compared. | It is undetermined, which panics. | There is no such kernel. |
//! | Both versions are converted to lower case. | They are compared as written. | Requirements are copied from `uname -r`. |
//!
//! # Kata's macros
//!
//! `test-utils = { package = "katatestutils", … }` replaces Kata's crate of that name; tests stay as they are.
//! The macros end a test by `return` and an iteration by `continue`, as Kata's do, and only the message is
//! different: Kata's is captured by libtest, and the test is shown as passed.
//!
//! | the macro is used | a test that is skipped | a test of which iterations are skipped |
//! |---|---|---|
//! | in a `#[test]`, under `cargo test` | `ok`; it is printed past the capture, counted at the end and recorded | `ok`; each iteration is printed past the capture and counted at the end |
//! | in a `#[test]`, run by `cargo kata-test test` | skipped, with the reason; another place where the requirement is met runs it | suspected skip, since no outcome is shown as a pass that is one in part; other places are tried |
//! | in a `#[test]`, under nextest | fails, since nextest would show a pass | fails |
//! | in a `#[kata_test]` | as by [`require!`](kata_test::require) | skipped, with the iterations, if the others pass |
//!
//! `KATA_TEST_EXPECT`, `KATA_TEST_MAY_SKIP` and `KATA_TEST_UNSKIP` apply: with `KATA_TEST_EXPECT=kvm`, a CI job without a
//! usable `/dev/kvm` fails. [`skip_if_kvm_unaccessable!`] demands more than Kata's, that KVM works:
//! [`kvm`](kata_test::constraint::kvm).
//!
//! A macro in a helper function ends only that function; [`require!`](kata_test::require) ends the test.

mod need;
mod operator;
mod skip;
mod test_constraint;

pub use need::{
    Constraint, need_kernel_version, need_kernel_version_equals, need_kernel_version_ge,
    need_kernel_version_gt, need_kernel_version_le, need_kernel_version_lt,
    need_kernel_version_not_equals, need_kernel_version_with_op, need_non_root, need_root,
    need_uid, with_issue,
};
pub use operator::Operator;
#[doc(hidden)]
pub use skip::__private;
pub use skip::TestUserType;
pub use test_constraint::{Checked, TestConstraint};

/// The message of a test that is skipped because it needs root.
pub const TEST_DISABLED_NEED_ROOT: &str = "Test disabled as requires root user";
/// The message of a test that is skipped because it must not run as root.
pub const TEST_DISABLED_NEED_NON_ROOT: &str = "Test disabled as requires non-root user";

#[cfg(test)]
mod tests;
