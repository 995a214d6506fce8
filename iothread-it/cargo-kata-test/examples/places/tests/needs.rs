//! Each test looks whether it is where it needs to be.

use std::fs;
use std::path::Path;

use kata_test::kata_test;

fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut numbers = release.split(['.', '-']).map(|number| number.trim().parse());
    let mut next = || numbers.next().expect("a number").expect("digits");
    (next(), next())
}

/// The first of the four uids in a process's status is the real one, the second the effective one.
fn effective_uid() -> u32 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("uids");
    line.split_whitespace().nth(1).expect("a uid").parse().expect("digits")
}

#[kata_test(root)]
fn needs_root() {
    assert_eq!(effective_uid(), 0);
}

#[kata_test(non_root)]
fn needs_another_user() {
    assert_ne!(effective_uid(), 0);
    fs::write("/sys/kernel/uevent_helper", "").expect_err("only root may");
}

#[kata_test(kernel_ge = "7.0")]
fn needs_a_new_kernel() {
    assert!(kernel() >= (7, 0), "{:?}", kernel());
}

#[kata_test(kernel_lt = "6.5")]
fn needs_an_old_kernel() {
    assert!(kernel() < (6, 5), "{:?}", kernel());
}

#[kata_test(kernel = ">= 6.12, < 6.13")]
fn needs_this_kernel() {
    assert_eq!(kernel(), (6, 12));
}

#[kata_test(root, kernel_lt = "6.5", command = "modprobe")]
fn loads_a_module_itself() {
    let modprobe = |arguments: &[&str]| {
        let done = std::process::Command::new("modprobe").args(arguments).status();
        assert!(done.expect("modprobe").success(), "{arguments:?}");
    };
    modprobe(&["brd", "rd_nr=1", "rd_size=4096"]);
    let sectors = fs::read_to_string("/sys/block/ram0/size").expect("a disk in memory");
    assert_eq!(sectors.trim(), "8192");
    modprobe(&["-r", "brd"]);
    assert!(!Path::new("/sys/module/brd").exists());
}

#[kata_test(cgroup = "v2")]
fn needs_cgroup_v2() {
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").expect("cgroup v2");
    assert!(controllers.contains("memory"), "{controllers}");
}

#[kata_test(root, cgroup = "v2", not(container))]
fn makes_a_cgroup() {
    let group = Path::new("/sys/fs/cgroup/places-example");
    fs::create_dir(group).expect("a cgroup");
    fs::write(group.join("cgroup.procs"), std::process::id().to_string()).expect("to enter it");
    let mine = fs::read_to_string("/proc/self/cgroup").expect("it");
    assert_eq!(mine.trim(), "0::/places-example");
    fs::write("/sys/fs/cgroup/cgroup.procs", std::process::id().to_string()).expect("to leave it");
    fs::remove_dir(group).expect("to remove it");
}

#[kata_test(module = "dummy")]
fn needs_a_module() {
    assert!(Path::new("/sys/module/dummy").exists());
}

#[kata_test(not(container))]
fn needs_no_container() {
    assert!(!Path::new("/.dockerenv").exists());
}

#[kata_test(not(container), reason = "reads a file of its package")]
fn finds_its_package() {
    let manifest = fs::read_to_string("Cargo.toml").expect("the manifest");
    assert!(manifest.contains("name = \"places\""));
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
}

#[kata_test(arch = "aarch64")]
fn needs_arm() {
    assert_eq!(std::env::consts::ARCH, "aarch64");
}

kata_test::main!();
