//! A timeout and a serial group are read while the test is compiled.

use kata_test::kata_test;

#[kata_test(timeout = "30")]
fn no_unit() {}

#[kata_test(timeout = "0s", serial = "a/b")]
fn two_at_once() {}

#[kata_test(timeout = 30)]
fn no_text() {}

#[kata_test(timout = "30s")]
fn mistyped() {}

fn main() {}
