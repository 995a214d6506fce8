//! Constraints that can never hold together, each reported at the later of the two.

use kata_test::kata_test;

#[kata_test(root, kvm, non_root)]
fn nobody() {}

#[kata_test(kernel_ge = "6.1", kernel_lt = "5.10")]
fn no_kernel() {}

#[kata_test(kernel_gt = "6.1", kernel_lt = "6.2")]
fn between_neighbours() {}

#[kata_test(not(kvm), root, kvm)]
fn the_opposite() {}

#[kata_test(kernel_ge = "6.1", kernel_lt = "6.9", any(root, non_root), not(all(root, kvm)))]
fn none() {}

fn main() {}
