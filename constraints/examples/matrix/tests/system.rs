//! Tests that differ between places, each for a reason of its own.

use std::fs;
use std::process::Command;

use kata_test::kata_test;

#[kata_test]
fn is_the_same_everywhere() {
    assert!(fs::read_to_string("/proc/self/status").unwrap().contains("Uid:"));
}

#[kata_test(root)]
fn mounts_a_file_system() {
    let script = "mkdir mounted && mount -t tmpfs none mounted && umount mounted && rmdir mounted";
    assert!(Command::new("sh").args(["-c", script]).status().unwrap().success());
}

/// Needs Linux 5.19, which it does not state.
#[kata_test]
fn counts_merged_pages() {
    fs::read_to_string("/proc/self/ksm_merging_pages").unwrap();
}

#[kata_test(kernel_ge = "6.4")]
fn knows_what_merging_saves() {
    assert!(fs::read_to_string("/proc/self/ksm_stat").unwrap().contains("ksm_process_profit"));
}

#[kata_test(root, cgroup = "v2", not(container), expect_failure(kernel_lt = "5.14", issue = "#7"))]
fn kills_a_cgroup() {
    let group = "/sys/fs/cgroup/matrix-example";
    fs::create_dir(group).unwrap();
    let killed = fs::write(format!("{group}/cgroup.kill"), "1");
    fs::remove_dir(group).unwrap();
    killed.unwrap();
}

#[kata_test(arch = "aarch64")]
fn needs_arm() {}

kata_test::main!();
