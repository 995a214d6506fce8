//! Half a dozen tests that need an old kernel and last a moment each, and one for every host.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use kata_test::kata_test;

/// Has the kernel panic a second after so many milliseconds, whatever runs then.
const DOG: &str = "PLACES_SAMPLE_DOG";

fn moment() {
    sleep(Duration::from_millis(400));
}

#[kata_test]
fn anywhere() {}

#[kata_test(kernel_lt = "6.5", root)]
fn a_lets_the_dog_loose() {
    let Ok(delay) = std::env::var(DOG) else {
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
