//! The same thing twice.

use kata_test::kata_test;

#[kata_test(root, kernel_ge = "5.0", root, issue = "x/1", kernel_ge = "6.0", issue = "x/2")]
fn twice() {}

fn main() {}
