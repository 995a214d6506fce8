//! The same under Rust's own harness.

#[path = "halfway/cases.rs"]
mod cases;

/// Made a test by rstest and by us, and so run twice: that it is found out is tested elsewhere.
#[rstest::rstest]
#[case(1)]
#[kata_test::kata_test(kernel_ge = "2.6")]
fn twice(#[case] number: u32) {
    assert_eq!(number, 1);
}
