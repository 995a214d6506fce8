//! Six slow tests that need an old kernel, and one that runs on every host.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use kata_test::kata_test;

/// The variable with the time after which the kernel panics, in milliseconds.
const PANIC_AFTER_MS: &str = "PLACES_SAMPLE_PANIC_AFTER_MS";

fn moment() {
    sleep(Duration::from_millis(400));
}

#[kata_test]
fn anywhere() {}

#[kata_test(kernel_lt = "6.5", root)]
fn a_schedules_a_panic() {
    // The longest test is the first that a VM runs.
    sleep(Duration::from_secs(1));
    let Ok(delay) = std::env::var(PANIC_AFTER_MS) else {
        return;
    };
    sleep(Duration::from_millis(delay.parse().expect("a number")));
    let loaded = std::process::Command::new("/sbin/modprobe")
        .args(["softdog", "soft_margin=1", "soft_panic=1"])
        .status();
    assert!(loaded.expect("modprobe").success());
    // Whoever closes it without the word for that leaves it running.
    drop(fs::File::options().write(true).open("/dev/watchdog").expect("a watchdog"));
}

#[kata_test(kernel_lt = "6.5")]
fn b_lasts() {
    moment();
}

#[kata_test(kernel_lt = "6.5")]
fn c_lasts() {
    moment();
}

#[kata_test(kernel_lt = "6.5")]
fn d_lasts() {
    moment();
}

#[kata_test(kernel_lt = "6.5")]
fn e_lasts() {
    moment();
}

#[kata_test(kernel_lt = "6.5")]
fn f_lasts() {
    moment();
}

kata_test::main!();
