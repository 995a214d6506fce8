//! Tests that take the machine with them, for `tests/places` to run in a guest. Without the variable
//! that puts them on stage they do nothing, so that plain `cargo test` can run them too.

mod hostile;

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use kata_test::kata_test;

fn on_stage() -> bool {
    std::env::var_os("IOTHREAD_IT_DISASTERS").is_some()
}

/// Has the kernel do at once what a letter stands for.
fn sysrq(letter: &str) {
    fs::write("/proc/sysrq-trigger", letter).expect("sysrq");
}

#[kata_test]
fn a_calm_before() {
    println!("calm before");
}

#[kata_test]
fn b_panics_the_kernel() {
    if on_stage() {
        sysrq("c");
    }
}

#[kata_test]
fn c_calm_between() {}

/// A kernel that neither goes on nor restarts.
#[kata_test]
fn d_hangs_the_kernel() {
    if on_stage() {
        fs::write("/proc/sys/kernel/panic", "0").expect("a setting");
        sysrq("c");
    }
}

#[kata_test]
fn e_calm_after() {}

/// Whoever reads this on the screen kills QEMU.
#[kata_test]
fn f_waits_for_the_end_of_qemu() {
    if on_stage() {
        // Past the capture of the test's output.
        fs::write("/proc/self/oom_score_adj", "0").expect("a setting");
        kata_test::measure("waits", 1.0);
        sleep(Duration::from_secs(600));
    }
}

/// Longer than its limit, as it is meant for a machine that is as fast as the host.
#[kata_test(timeout = "1s")]
fn g_takes_its_time() {
    if on_stage() {
        sleep(Duration::from_millis(1200));
    }
}

#[kata_test(timeout = "200ms")]
fn h_never_ends() {
    if on_stage() {
        sleep(Duration::from_secs(600));
    }
}

#[kata_test]
fn i_fails() {
    assert!(!on_stage(), "as it was told to");
}

#[kata_test]
fn j_has_a_disk_of_its_own() {
    if on_stage() {
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

/// What a test does to the kernel the next one sees.
const MARK: &str = "/proc/sys/kernel/domainname";

#[kata_test]
fn k_marks_the_machine() {
    if on_stage() {
        fs::write(MARK, "marked").expect("a setting");
    }
}

#[kata_test(own_machine)]
fn l_is_alone() {
    if on_stage() {
        let mark = fs::read_to_string(MARK).expect("a setting");
        assert_ne!(mark.trim(), "marked", "others were here before");
    }
}

#[kata_test]
fn m_meets_the_mark() {
    if on_stage() {
        let mark = fs::read_to_string(MARK).expect("a setting");
        assert_eq!(mark.trim(), "marked", "the machine is shared");
    }
}

/// Passes where the test of this name in `bystander` crashes.
#[kata_test]
fn crashes() {}

/// Passes where the test of this name in `bystander` fails.
#[kata_test]
fn fails() {}

/// Fails where the test of this name in `bystander` passes.
#[kata_test]
fn passes() {
    assert!(!on_stage(), "this is another binary");
}

kata_test::main!();
