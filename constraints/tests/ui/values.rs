//! Values that are no versions and no commands, all reported at once.

use kata_test::kata_test;

#[kata_test(
    kernel_ge = "six",
    kernel_lt = "6.8-rc4-foo",
    kernel_eq = "06.1",
    command = "/bin/true",
    command = "qemu-img --version"
)]
fn bad_values() {}

#[kata_test(kernel_ge = 6)]
fn no_text() {}

#[kata_test(kernel_ge)]
fn no_value() {}

#[kata_test(root = "yes")]
fn too_much() {}

fn main() {}
