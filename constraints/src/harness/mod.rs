//! One test binary under `harness = false`: list, run, print, record.
//!
//! The process stays single-threaded and forks a child for each test, so a test has its own uid,
//! environment, working directory and namespaces, and a crash is one failure. The command line and
//! the output are libtest's.

mod body;
mod caller;
mod child;
mod cli;
mod clock;
mod in_process;
mod interrupt;
mod judged;
mod left;
mod lifeline;
mod missing;
mod output;
mod plan;
mod print;
mod run;
mod select;
mod serial;
mod shuffle;
mod stop;
mod summary;
mod threads;
mod user;
mod verdicts;

use std::process::ExitCode;

use crate::contract::Contract;
use crate::elsewhere;
use crate::facts;
use crate::names::in_order;
use crate::record::opt_ins;
use crate::registry::{self, Target, Test};
use crate::sys::{stderr, stdout};
use caller::Caller;
use cli::{Command, Options};
use plan::Plan;

pub(crate) use body::{Ended, run as run_body};
pub use missing::Missing;
pub(crate) use serial::lock as serial_lock;

/// What libtest exits with when a test fails or an argument is wrong.
const FAILURE: u8 = 101;

/// The `main` of a test binary.
#[must_use]
#[expect(unsafe_code, reason = "that a process has one thread is a promise")]
pub fn main(target: Target) -> ExitCode {
    if let Err(problem) = elsewhere::take_environment() {
        return refuse(&format!("error: {problem}\n"));
    }
    let command = match cli::parse(std::env::args().skip(1), cli::Environment::here()) {
        Ok(command) => command,
        Err(problem) => return refuse(&format!("error: {problem}\n")),
    };
    let options = match command {
        Command::Help => {
            stdout(cli::HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        // Nothing here is a benchmark: `cargo bench` asks every target with a main of its own.
        Command::Bench => return ExitCode::SUCCESS,
        Command::Tests(options) => options,
    };
    // In this process a debugger looks on, and tests may leave threads behind.
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
            return refuse(&format!(
                "error: {problem}. Start threads in tests and not before `main` (in `#[ctor]` \
                 functions, allocators or other languages' runtimes), run with --in-process, or \
                 accept the risk with {}=1\n",
                threads::ALLOW
            ));
        }
        stderr(&format!(
            "warning: {problem}; allowed by {}\n",
            threads::ALLOW
        ));
    }
    let tests: Vec<&'static Test> = registry::tests().collect();
    let tests = in_order(&tests, |test| test.name());
    let mut pairs = tests.windows(2);
    if let Some(pair) = pairs.find(|pair| pair[0].name() == pair[1].name()) {
        let name = pair[0].name();
        return refuse(&format!(
            "error: two tests are called {name}: rename one of them\n"
        ));
    }
    // Here for lists too: nextest stops at a list that fails, and shows why.
    let contract = match Contract::here().and_then(|contract| {
        contract.hold(contract.host())?;
        Ok(contract)
    }) {
        Ok(contract) => contract,
        Err(problem) => return refuse(&format!("error: {problem}\n")),
    };
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

fn run_or_list(plan: &Plan, tests: &[&'static Test]) -> ExitCode {
    for note in &plan.options.notes {
        stderr(&format!("note: {note}\n"));
    }
    if plan.options.list {
        let text = match &plan.contract.recorded {
            _ if plan.options.verdicts => verdicts::lines(plan, tests),
            Some(recorded) if plan.is_for_a_person() => verdicts::list(plan, tests, recorded),
            _ => plan.list(tests, plan.contract.host()),
        };
        return if stdout(text.as_bytes()) {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(FAILURE)
        };
    }
    if let Err(problem) = plan.contract.may_run() {
        return refuse(&format!("error: {problem}\n"));
    }
    let run = if plan.options.in_process {
        in_process::run
    } else {
        run::run
    };
    match run(plan, tests) {
        Ok(code) => code,
        Err(problem) => refuse(&format!("error: {problem}\n")),
    }
}

fn refuse(text: &str) -> ExitCode {
    stderr(text);
    ExitCode::from(FAILURE)
}

impl Options {
    /// Says whether colours are wanted for what goes to standard output.
    fn colored(&self) -> bool {
        use std::io::IsTerminal;
        match self.color {
            cli::Color::Always => true,
            cli::Color::Never => false,
            cli::Color::Auto => std::io::stdout().is_terminal(),
        }
    }
}
