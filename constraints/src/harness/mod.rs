//! The harness of a test binary with `harness = false`: lists, runs, prints and records tests.
//!
//! The process has one thread and forks a child for each test, so a test has its own uid, environment,
//! working directory and namespaces, and a crash is one failure. The command line and the output are
//! libtest's.

mod body;
mod caller;
mod child;
mod cli;
mod clock;
mod exit_codes;
mod expect_failure;
mod in_process;
mod interrupt;
mod kvm_guests;
mod leaks;
mod lifeline;
mod network;
mod output;
mod plan;
mod print;
mod run;
mod select;
mod serial;
mod shuffle;
mod stop;
mod summary;
mod test_end;
mod threads;
mod unmet_counts;
mod user;
mod verdicts;

use std::process::ExitCode;

use crate::contract::Contract;
use crate::facts;
use crate::names::in_order;
use crate::record::opt_ins;
use crate::registry::{self, Target, Test};
use crate::runner_env;
use crate::sys::{stderr, stdout};
use caller::Caller;
use cli::{Command, Options};
use exit_codes::FAILURE;
use plan::Plan;

pub(crate) use body::run as run_body;
pub use cli::{REPEAT, RETRIES};
pub use exit_codes::{EXIT_CODES, ExitCodeMeaning};
pub(crate) use serial::lock as serial_lock;
pub use shuffle::shuffle;
pub(crate) use test_end::TestEnd;
pub use unmet_counts::UnmetCounts;

/// The `main` of a test binary.
#[must_use]
pub fn main(target: Target) -> ExitCode {
    run_command(target).unwrap_or_else(|problem| {
        stderr(&format!("error: {problem}\n"));
        ExitCode::from(FAILURE)
    })
}

#[expect(unsafe_code, reason = "that a process has one thread is a promise")]
fn run_command(target: Target) -> Result<ExitCode, String> {
    runner_env::take_environment()?;
    let command = cli::parse(std::env::args().skip(1), cli::Environment::here())?;
    let options = match command {
        Command::Help => {
            stdout(cli::HELP.as_bytes());
            return Ok(ExitCode::SUCCESS);
        }
        // There are no benchmarks: `cargo bench` runs every target that has its own main.
        Command::Bench => return Ok(ExitCode::SUCCESS),
        Command::Tests(options) => options,
    };
    let threads = if options.in_process {
        None
    } else {
        threads::problem()
    };
    if !options.in_process && threads.is_none() {
        // SAFETY: this process has one thread, as was just seen, and the harness starts none.
        unsafe { facts::one_thread() };
    }
    if let Some(problem) = threads.filter(|_| !options.list) {
        if !threads::are_allowed() {
            return Err(format!(
                "{problem}. Start threads in tests and not before `main` (in `#[ctor]` \
                 functions, allocators or other languages' runtimes), run with --in-process, or \
                 accept the risk with {}=1",
                threads::ALLOW
            ));
        }
        stderr(&format!(
            "warning: {problem}; allowed by {}\n",
            threads::ALLOW
        ));
    }
    let tests: Vec<&'static Test> = registry::tests().collect();
    // By name: all paths begin with the crate's name. To look for its end at each comparison is slow.
    let tests = in_order(&tests, |test| test.path);
    let mut pairs = tests.windows(2);
    if let Some(pair) = pairs.find(|pair| pair[0].path == pair[1].path) {
        let name = pair[0].name();
        return Err(format!(
            "two tests have the name {name}: rename one of them"
        ));
    }
    // For lists too: nextest stops at a list that fails, and shows the error.
    let contract = Contract::here()?;
    contract.check(contract.host())?;
    if !options.verdicts {
        opt_ins::declare(&target.binary_id(), &registry::opt_ins());
    }
    let plan = Plan {
        target,
        caller: Caller::here(options.list),
        options,
        contract,
    };
    run_or_list(&plan, &tests)
}

fn run_or_list(plan: &Plan, tests: &[&'static Test]) -> Result<ExitCode, String> {
    for note in &plan.options.notes {
        stderr(&format!("note: {note}\n"));
    }
    if plan.options.list {
        let text = match &plan.contract.recorded {
            _ if plan.options.verdicts => verdicts::lines(plan, tests),
            Some(recorded) if plan.is_for_a_person() => verdicts::list(plan, tests, recorded),
            _ => plan.list(tests, plan.contract.host()),
        };
        return Ok(match stdout(text.as_bytes()) {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(FAILURE),
        });
    }
    plan.contract.may_run()?;
    match plan.options.in_process {
        true => in_process::run(plan, tests),
        false => run::run(plan, tests),
    }
}

impl Options {
    /// Whether to color standard output.
    fn colored(&self) -> bool {
        use std::io::IsTerminal;
        match self.color {
            cli::Color::Always => true,
            cli::Color::Never => false,
            cli::Color::Auto => std::io::stdout().is_terminal(),
        }
    }
}
