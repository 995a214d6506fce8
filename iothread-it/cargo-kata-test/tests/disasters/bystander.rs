//! Tests of a binary that runs after that of the hostile tests, for `tests/places` to run in a guest.

use kata_test::kata_test;

fn on_stage() -> bool {
    std::env::var_os("IOTHREAD_IT_DISASTERS").is_some()
}

#[kata_test]
fn crashes() {
    if on_stage() {
        std::process::abort();
    }
}

#[kata_test]
fn fails() {
    assert!(!on_stage(), "expected here");
}

#[kata_test]
fn passes() {}

kata_test::main!();
