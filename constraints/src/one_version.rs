//! One version of kata-test in a program.
//!
//! A `main` runs the tests of its own version. Those of another version in the same program would be
//! lost without a word, so the linker refuses such a program: each version defines the symbol below.
#![cfg_attr(
    not(test),
    expect(unsafe_code, reason = "an exported symbol has no safe form")
)]

/// The name is the linker's error message.
// SAFETY: no other code has a symbol of this name, unless to meet this one.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[cfg_attr(test, expect(non_upper_case_globals, reason = "the linker prints it"))]
static two_versions_of_kata_test_are_in_this_program: u8 = 0;

/// Makes whoever calls this need the symbol.
pub(crate) fn there_is_one_version() {
    std::hint::black_box(&two_versions_of_kata_test_are_in_this_program);
}
