//! Lists of constraints that are none.

use kata_test::kata_test;

#[kata_test(any(), not(root, kvm), any(kvm, kvm), all = "x", not)]
fn malformed() {}

#[kata_test(al(root), any(issue = "x/1"), command("a", "a"))]
fn misplaced() {}

fn main() {}
