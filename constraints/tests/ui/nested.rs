//! Mistakes inside of lists: found as those outside of them are, each at its own place.

use kata_test::kata_test;

#[kata_test(any(root, not(kernel_ge = "six")), all(kvm, any(kvm, command = "a b")))]
fn values() {}

#[kata_test(any(root, not(kernel_gee = "6")), all(rot, any(kvm, command)))]
fn names() {}

fn main() {}
