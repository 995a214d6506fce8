//! The same thing twice.

use kata_test::kata_test;

#[kata_test(root, kernel_ge = "5.0", root, issue = "x/1", kernel_ge = "6.0", issue = "x/2")]
fn twice() {}

#[kata_test(caps("CAP_KILL", "CAP_KILL"), any(kvm, kvm), kernel_ge("5.0", "6.0"))]
fn twice_in_lists() {}

fn main() {
    // The functions are there all the same, so that one mistake is one error.
    twice();
    twice_in_lists();
}
