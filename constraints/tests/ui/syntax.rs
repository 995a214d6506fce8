//! Arguments that are no arguments.

use kata_test::kata_test;

#[kata_test(root kvm, command =, issue = 3, 5, when = 1 + 1)]
fn malformed() {}

fn main() {}
