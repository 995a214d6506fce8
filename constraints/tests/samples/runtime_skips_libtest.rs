//! The same under Rust's own harness.

#[path = "runtime_skips/cases.rs"]
mod cases;

/// Made a test twice, and so run twice: that it is found out is tested elsewhere.
#[test]
#[kata_test::kata_test(kernel_ge = "2.6")]
fn twice() {}
