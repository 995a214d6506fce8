//! The API of Kata Containers' Go package `katatestutils` in Rust, over the constraints and
//! facts of [kata-test](kata_test): ported code reads the same.
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
//! New tests are better off with the [attribute](macro@kata_test::kata_test), which cannot be forgotten
//! half-way, knows more constraints, and is checked by the compiler.
//!
//! # Where this differs from Go
//!
//! | Go | here | because |
//! |---|---|---|
//! | A distribution's suffix makes a kernel older than its own base: `5.4.0-150-generic` is not `>= 5.4.0`. | The suffix counts only if the requirement states one. | Semver calls it a pre-release, which it is not. |
//! | `"5"` or `"5.4"` panics on every kernel of three numbers. | It means every 5.x, every 5.4.x. | The requirement sets the precision. |
//! | As decimal fractions, `3.10` is older than `3.9`. | Components are compared as numbers. | A version is no fraction. |
//! | `5.15.90.1-microsoft-standard-WSL2`, `5.10.0-007`, `4.4.0+abc` panic. | They are compared. | Kernels are called that. |
//! | A requirement with `_` (`3.10.0-957.el7.x86_64`) panics: it is taken out of the running side only. | It is compared as written. | It is what `uname -r` prints. |
//! | A kernel version of `""` is no constraint at all. | It panics. | A constraint that is ignored skips nothing, ever. |
//! | `("version")`, and operators other than `==` and `!=` on a uid, panic when they are checked. | They panic where they are written. | The line is in the message. |
//! | The first constraint that fails ends the check. | All are checked, and all results kept. | Who mends the first should not meet the second afterwards. |
//! | `WithIssue` behind a constraint that fails is lost. | Its place never matters. | It explains the constraints, all of them. |
//! | An unreadable `/proc/version` panics in the constructor, whatever is asked later. | A fact is looked up when a constraint asks for it, by uname(2). | One missing fact is no reason to fail other tests. |
//! | Operators cannot be named outside of the package. | [`Operator`] is public. | [`need_uid`] takes one. |
//! | A negative uid, or operator 1234, is an error when checked. | It cannot be written. | The types are `u32` and an enum. |
//! | One `TestConstraint` shared by parallel tests is a race. | [`not_valid`](TestConstraint::not_valid) takes `&mut self`. | The compiler tells. |
//! | A kernel version of one number is compared with a running `"1"`. | A running kernel of one number is undetermined, which panics. | There is no such kernel. |
//! | Letters are lowered on both sides. | They count as written. | `uname -r` is meant to be copied. |

mod need;
mod operator;
mod test_constraint;

pub use need::{
    Constraint, need_kernel_version, need_kernel_version_equals, need_kernel_version_ge,
    need_kernel_version_gt, need_kernel_version_le, need_kernel_version_lt,
    need_kernel_version_not_equals, need_kernel_version_with_op, need_non_root, need_root,
    need_uid, with_issue,
};
pub use operator::Operator;
pub use test_constraint::{Checked, TestConstraint};

/// What a test says that is skipped since it needs root.
pub const TEST_DISABLED_NEED_ROOT: &str = "Test disabled as requires root user";
/// What a test says that is skipped since it needs not to be root.
pub const TEST_DISABLED_NEED_NON_ROOT: &str = "Test disabled as requires non-root user";

#[cfg(test)]
mod tests;
