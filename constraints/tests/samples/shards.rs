//! Eight tests for shards. One of them has a need that not every machine meets.

use kata_test::{Verdict, kata_test};

kata_test::main!();

fn machine_a() -> Verdict {
    match std::env::var("MACHINE").as_deref() {
        Ok("b") => Verdict::unmet("this is machine b", "MACHINE"),
        _ => Verdict::met("this is another machine", "MACHINE"),
    }
}

#[kata_test(when = machine_a)]
fn t0() {}

#[kata_test]
fn t1() {}

#[kata_test]
fn t2() {}

#[kata_test]
fn t3() {}

#[kata_test]
fn t4() {}

#[kata_test]
fn t5() {}

#[kata_test]
fn t6() {}

#[kata_test]
fn t7() {}

/// Fails on its first attempt, if `SAMPLE` selects it.
#[kata_test]
fn z_flaky() {
    let attempt = std::env::var("NEXTEST_ATTEMPT").unwrap_or_default();
    let asked = std::env::var_os("SAMPLE").is_some_and(|sample| sample == "flaky");
    assert!(!asked || attempt != "1", "the first attempt");
}
