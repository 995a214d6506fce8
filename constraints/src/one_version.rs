//! Refuses a program with two versions of kata-test.
//!
//! A `main` runs only the tests of its own version. So each version defines the symbol below, and the
//! linker reports the duplicate.
#![cfg_attr(
    not(test),
    expect(unsafe_code, reason = "an exported symbol has no safe form")
)]

/// The linker's error message names it.
// SAFETY: no other code has a symbol of this name, unless to meet this one.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[cfg_attr(test, expect(non_upper_case_globals, reason = "the linker prints it"))]
static two_versions_of_kata_test_are_in_this_program: u8 = 0;

/// Makes the caller need the symbol.
pub(crate) fn there_is_one_version() {
    std::hint::black_box(&two_versions_of_kata_test_are_in_this_program);
}
