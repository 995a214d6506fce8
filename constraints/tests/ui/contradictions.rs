//! Constraints that can never hold together, each reported at the later of the two.

use kata_test::kata_test;

#[kata_test(root, kvm, non_root)]
fn nobody() {}

#[kata_test(uid = 1000, uid = 1001, real_root)]
fn two_users() {}

#[kata_test(kernel_ge = "6.1", kernel_lt = "5.10")]
fn no_kernel() {}

#[kata_test(kernel_gt = "6.1", kernel_lt = "6.2")]
fn between_neighbours() {}

#[kata_test(kernel = ">= 6.1", arch = "x86_64", kernel_eq = "5.10", arch = "aarch64")]
fn two_at_once() {}

#[kata_test(not(kvm), root, kvm)]
fn the_opposite() {}

#[kata_test(cgroup = "v1", cgroup = "v2", virt = "kvm", virt = "none")]
fn hosts() {}

#[kata_test(kvm_vendor = "intel", kvm_vendor = "amd", kvm_hardware, not(kvm_hardware))]
fn virtualization() {}

#[kata_test(distro = "ubuntu >= 22.04", distro = "debian")]
fn distributions() {}

#[kata_test(kernel_ge = "6.1", kernel_lt = "6.9", any(root, non_root), not(all(root, kvm)))]
fn none() {}

#[kata_test(vendor_kernel("rhel9 >= 5.14.0-441", "rhel8 >= 4.18.0-553"))]
fn two_vendors() {}

#[kata_test(any(arch = "x86_64", arch = "aarch64"), distro = "ubuntu >= 20", distro = "ubuntu < 24")]
fn none_in_lists() {}

fn main() {}
