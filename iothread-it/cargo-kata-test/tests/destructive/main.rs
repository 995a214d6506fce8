//! Tests that crash or attack their machine, for `tests/places` to run in a guest. They do nothing unless
//! `PLACES_DESTRUCTIVE` is set, so that `cargo test` can run them too.

mod hostile;

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use kata_test::kata_test;

fn is_enabled() -> bool {
    std::env::var_os("PLACES_DESTRUCTIVE").is_some()
}

/// Executes a SysRq command.
fn sysrq(letter: &str) {
    fs::write("/proc/sysrq-trigger", letter).expect("sysrq");
}

#[kata_test]
fn a_passes() {
    println!("passed");
}

#[kata_test]
fn b_panics_the_kernel() {
    if is_enabled() {
        sysrq("c");
    }
}

#[kata_test]
fn c_passes() {}

/// Hangs the kernel: it neither continues nor reboots.
#[kata_test]
fn d_hangs_the_kernel() {
    if is_enabled() {
        fs::write("/proc/sys/kernel/panic", "0").expect("a setting");
        sysrq("c");
    }
}

#[kata_test]
fn e_passes() {}

/// Runs until QEMU is killed.
#[kata_test]
fn f_blocks() {
    if is_enabled() {
        // Past the capture of the test's output.
        fs::write("/proc/self/oom_score_adj", "0").expect("a setting");
        kata_test::measure("waits", 1.0);
        sleep(Duration::from_secs(600));
    }
}

/// Runs longer than its limit on a machine that is as fast as the host.
#[kata_test(timeout = "1s")]
fn g_is_slow() {
    if is_enabled() {
        sleep(Duration::from_millis(1200));
    }
}

#[kata_test(timeout = "200ms")]
fn h_never_ends() {
    if is_enabled() {
        sleep(Duration::from_secs(600));
    }
}

#[kata_test]
fn i_fails() {
    assert!(!is_enabled(), "expected failure");
}

#[kata_test]
fn j_writes_the_scratch_disk() {
    if is_enabled() {
        use std::os::unix::fs::FileExt;
        let node = std::env::var("KATA_TEST_SCRATCH_DISK").expect("a disk");
        let disk = fs::File::options()
            .read(true)
            .write(true)
            .open(node)
            .expect("it");
        disk.write_all_at(b"mine", 4096).expect("to write");
        disk.sync_all().expect("to flush");
        let mut read = [0; 4];
        disk.read_exact_at(&mut read, 4096).expect("to read");
        assert_eq!(&read, b"mine");
    }
}

/// A setting of the kernel, which the tests of a guest share.
const MARK: &str = "/proc/sys/kernel/domainname";

#[kata_test]
fn k_writes_a_mark() {
    if is_enabled() {
        fs::write(MARK, "marked").expect("a setting");
    }
}

#[kata_test(own_machine)]
fn l_needs_own_machine() {
    if is_enabled() {
        let mark = fs::read_to_string(MARK).expect("a setting");
        assert_ne!(mark.trim(), "marked", "another test ran here");
    }
}

#[kata_test]
fn m_reads_the_mark() {
    if is_enabled() {
        let mark = fs::read_to_string(MARK).expect("a setting");
        assert_eq!(mark.trim(), "marked", "the machine is shared");
    }
}

kata_test::main!();
