//! The cost of evaluating five met constraints whose facts are known: at most a microsecond, so that
//! a thousand tests are evaluated in one millisecond.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kata_test::constraint::{
    Constraint, Status, arch, command, cpus_ge, evaluate, kernel_ge, non_root, root,
};
use kata_test::facts::Here;

const LIMIT: Duration = Duration::from_micros(1);
const ROUNDS: u32 = 100_000;

const FIVE: &[Constraint] = &[
    Constraint::Any(&[root(), non_root()]),
    kernel_ge("2.6.32"),
    arch(std::env::consts::ARCH),
    cpus_ge(1),
    command("sh"),
];

fn main() -> ExitCode {
    let met = evaluate(FIVE, &Here);
    assert_eq!(met.status, Status::Met, "{:?}", met.reasons);
    // `cargo test` runs this too, without optimization: then it only has to work.
    if !std::env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    // The best of several rounds: other programs use this machine too.
    let best = (0..10).map(|_| round()).min().unwrap_or_default();
    println!("evaluating five met constraints on known facts: {best:?} (limit {LIMIT:?})");
    if best <= LIMIT {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn round() -> Duration {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        let evaluation = evaluate(black_box(FIVE), &Here);
        assert_eq!(black_box(evaluation).status, Status::Met);
    }
    start.elapsed() / ROUNDS
}
