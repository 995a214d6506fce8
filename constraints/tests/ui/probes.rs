//! Probes that are none.

use kata_test::{Verdict, kata_test};

fn says_nothing() {}

fn wants_something(_: u32) -> Verdict {
    Verdict::met("something", "somewhere")
}

#[kata_test(when = says_nothing)]
fn without_a_verdict() {}

#[kata_test(when = wants_something)]
fn with_a_parameter() {}

#[kata_test(when = nowhere::to_be_found)]
fn unknown() {}

fn main() {}
