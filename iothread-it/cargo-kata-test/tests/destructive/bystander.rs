//! Tests of a binary that runs after hostile tests, for `tests/places` to run in a guest.

use kata_test::kata_test;

fn is_enabled() -> bool {
    std::env::var_os("PLACES_DESTRUCTIVE").is_some()
}

#[kata_test]
fn crashes() {
    if is_enabled() {
        std::process::abort();
    }
}

#[kata_test]
fn fails() {
    assert!(!is_enabled(), "expected here");
}

#[kata_test]
fn passes() {}

kata_test::main!();
