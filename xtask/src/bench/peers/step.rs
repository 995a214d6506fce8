//! One run of a peer: its time, or that it was stopped, and proof that it ran the tests.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::left::Mark;

/// How long a stopped program may take to end its own processes.
const GRACE: Duration = Duration::from_secs(20);

/// Runs a command with all of its processes and returns the seconds that it took, or `None` if it was stopped at the
/// deadline. Its output goes to the log.
///
/// # Errors
/// If it fails.
pub(super) fn run(command: &Command, deadline: Duration, log: &Path) -> Result<Option<f64>> {
    run_with_grace(command, deadline, GRACE, log)
}

fn run_with_grace(
    command: &Command,
    deadline: Duration,
    grace: Duration,
    log: &Path,
) -> Result<Option<f64>> {
    // `timeout` stops a process group, and setpriv stops `timeout` if this process ends.
    let mut bounded = Command::new("setpriv");
    bounded.args(["--pdeathsig", "TERM", "timeout", "--kill-after"]);
    bounded.arg(grace.as_secs_f64().to_string());
    bounded.arg(deadline.as_secs_f64().to_string());
    bounded.arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        bounded.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    let file = File::create(log).with_context(|| log.display().to_string())?;
    bounded.stdin(Stdio::null());
    bounded.stdout(file.try_clone()?).stderr(file);
    let mark = Mark::on(&mut bounded);
    let start = Instant::now();
    let status = bounded.status();
    let status = status.context("cannot start setpriv, which is in the package util-linux")?;
    let took = start.elapsed();
    if status.success() {
        return Ok(Some(took.as_secs_f64()));
    }
    mark.kill()?;
    // `timeout` ends with 124, or kills itself with what it has to kill. A program can do both by itself.
    let is_stop = status.code() == Some(124) || status.signal() == Some(9);
    if took >= deadline && is_stop {
        return Ok(None);
    }
    bail!(
        "{} ended with {status}: {}",
        shown(command),
        end(&output(log)?)
    )
}

/// Runs tests, and checks that as many passed as there are.
///
/// # Errors
/// If the command fails, or another number of tests passed.
pub(super) fn run_tests(
    command: &Command,
    tests: usize,
    deadline: Duration,
    log: &Path,
) -> Result<Option<f64>> {
    let Some(took) = run(command, deadline, log)? else {
        return Ok(None);
    };
    let output = output(log)?;
    let passed = passed(&output);
    ensure!(
        passed == Some(tests),
        "{} has to pass {tests} tests, and says {passed:?}: {}",
        shown(command),
        end(&output)
    );
    Ok(Some(took))
}

/// How many tests passed, as the summary says of libtest, nextest, or cargo-kata-test.
fn passed(output: &str) -> Option<usize> {
    let is_summary = |line: &&str| {
        let ours = line.contains(" nowhere, ") && line.ends_with(" in all");
        line.contains("test result:") || line.contains("Summary [") || ours
    };
    let (before, _) = output.lines().rfind(is_summary)?.split_once(" passed")?;
    before.rsplit(' ').next()?.parse().ok()
}

/// A command without its variables.
pub(super) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn output(log: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(log)?).into_owned())
}

/// The last lines of an output.
fn end(output: &str) -> String {
    let lines: Vec<_> = output
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

#[cfg(test)]
mod tests {
    use guest_vm::process::ProcessId;
    use qmp_client::wait::Deadline;

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    /// A peer that is a shell script.
    fn fake(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn tests_of(script: &str, tests: usize) -> Result<Option<f64>> {
        let folder = tempfile::tempdir()?;
        run_tests(&fake(script), tests, SOON, &folder.path().join("log"))
    }

    #[test]
    fn the_summary_of_each_runner_is_read() {
        let libtest = "test result: \u{1b}[32mok\u{1b}[m. 200 passed; 0 failed; 0 ignored; finished in 0.5s\r\n";
        let nextest = "     Summary [   1.2s] 9 tests run: 9 passed, 0 skipped";
        let ours = "tests: 8 passed, 0 skipped, 0 nowhere, 8 in all\n│ peers ┆ 7 passed │";
        let everywhere = "1 test in 5 places: 5 passed, 0 skipped, 0 nowhere, 5 in all";
        let read = [libtest, nextest, ours, everywhere, "3 passed"].map(passed);
        assert_eq!(read, [Some(200), Some(9), Some(8), Some(5), None]);
    }

    #[test]
    fn a_peer_that_runs_no_test_is_an_error() {
        let all = "echo 'test result: ok. 2 passed; 0 failed'";
        assert!(tests_of(all, 2).unwrap().is_some());
        let none = tests_of("true", 2).unwrap_err().to_string();
        assert!(
            none.contains("has to pass 2 tests, and says None"),
            "{none}"
        );
        let too_few = tests_of("echo 'test result: ok. 0 passed; 0 failed'", 2).unwrap_err();
        assert!(too_few.to_string().contains("says Some(0)"), "{too_few}");
        let failed = tests_of(&format!("{all}; echo the reason; exit 3"), 2).unwrap_err();
        assert!(failed.to_string().contains("the reason"), "{failed}");
    }

    #[test]
    fn a_peer_that_is_stopped_leaves_no_process_in_any_session() {
        for start in ["sleep 600", "setsid sleep 600"] {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            let script = format!("{start} & echo $! > {}; wait", at("pid").display());
            let stopped = run(&fake(&script), Duration::from_secs(1), &at("log")).unwrap();
            assert_eq!(stopped, None);
            let pid = fs::read_to_string(at("pid")).unwrap();
            if let Ok(process) = ProcessId::of(pid.trim().parse().unwrap()) {
                let ended = process.wait_exit(Deadline::after(Duration::ZERO)).unwrap();
                assert!(ended, "{start}: {process:?} was not stopped");
            }
        }
    }

    #[test]
    fn a_peer_that_ignores_sigterm_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let deaf = fake("trap '' TERM; while :; do sleep 1; done");
        let second = Duration::from_secs(1);
        let stopped = run_with_grace(&deaf, second, second, &folder.path().join("log"));
        assert_eq!(stopped.unwrap(), None);
    }

    #[test]
    fn a_peer_that_ends_with_the_status_of_a_stop_before_the_deadline_failed() {
        for status in [124, 137] {
            let failed = tests_of(&format!("exit {status}"), 1);
            let failed = failed.unwrap_err().to_string();
            assert!(
                failed.contains(&format!("exit status: {status}")),
                "{failed}"
            );
        }
        let killed = tests_of("kill -KILL $PPID", 1).unwrap_err().to_string();
        assert!(killed.contains("signal: 9"), "{killed}");
    }
}
