//! Functions that cannot be tests, and things that are no functions.

use kata_test::kata_test;

#[kata_test(root)]
fn is_generic<T: Default>() {}

#[kata_test]
fn takes(_: u32, _: u32) {}

#[kata_test]
unsafe fn is_unsafe() {}

#[kata_test(root)]
struct NoFunction;

fn main() {}
