//! A test with a network of its own under Rust's own harness, and one without. Their caller names its network.

use std::fs;

use kata_test::kata_test;

fn network() -> String {
    let link = fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
    link.to_string_lossy().into_owned()
}

fn callers() -> String {
    std::env::var("PLACES_NETWORK").expect("the caller's network")
}

#[kata_test(isolated_network)]
fn a_has_its_own() {
    assert_ne!(network(), callers());
    std::thread::spawn(|| assert_ne!(network(), callers())).join().expect("a thread");
}

#[kata_test(isolated_network)]
#[should_panic]
fn b_panics_in_its_own() {
    assert_eq!(network(), callers());
}

#[kata_test]
fn c_has_the_callers() {
    assert_eq!(network(), callers());
}
