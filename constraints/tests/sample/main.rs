//! A test binary as a user writes it. It is run for real by the tests in `tests/harness.rs`.

use kata_test::{Verdict, kata_test};

kata_test::main!();

#[kata_test]
fn passes() {
    kata_test::measure("answer", 42.0);
    println!("nobody sees this");
}

#[kata_test(root)]
fn as_root() {}

#[kata_test(non_root)]
fn as_nobody() {}

#[kata_test(kvm)]
fn needs_kvm() {}

#[kata_test(
    kernel_ge = "99.1",
    command = "no-such-command",
    issue = "x/1",
    reason = "for show"
)]
fn needs_much() {}

#[kata_test(when = unheard_of)]
fn asks_a_probe() {}

fn unheard_of() -> Verdict {
    Verdict::unmet("nobody has heard of it", "hearsay")
}
