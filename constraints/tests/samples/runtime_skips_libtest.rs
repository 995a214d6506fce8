//! The same under Rust's own harness.

#[path = "runtime_skips/cases.rs"]
mod cases;

/// Has both attributes, so that libtest runs it twice.
#[test]
#[kata_test::kata_test(kernel_ge = "2.6")]
fn twice() {}
