//! A runner that gets SIGINT, SIGTERM or SIGKILL while its VM runs a test.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kata_test::kata_test;
use kata_test_runner::{Outcome, Shards};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::commands::target;
use crate::crashes::await_record;
use crate::runner_process::{Fixture, check, end, qemu_of, unfinished};

/// The time limit of a run that is stopped.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Returns what can outlive a process: mounts, named sockets, temporary files.
fn lasting(temporary: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for list in ["/proc/self/mountinfo", "/proc/net/unix"] {
        let ours = target()?.to_string_lossy().into_owned();
        let text = fs::read_to_string(list)?;
        let is_ours = |line: &&str| list.ends_with("mountinfo") || line.contains(&ours);
        found.extend(text.lines().filter(is_ours).map(str::to_owned));
    }
    for entry in fs::read_dir(temporary)? {
        found.insert(entry?.path().to_string_lossy().into_owned());
    }
    Ok(found)
}

/// Ctrl-C signals the foreground process group; the other signals are sent to the runner.
#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn a_signalled_runner_leaves_nothing_behind() -> Result<()> {
    let stage = Fixture::new()?;
    stage.clean_run()?;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let temporary = tempfile::tempdir()?;
        let before = lasting(temporary.path())?;
        let mut command = stage.command(None)?;
        command.env("TMPDIR", temporary.path()).process_group(0);
        let runner = command.spawn()?;
        let pid = Pid::from_raw(i32::try_from(runner.id())?);
        qemu_of(&runner)?;
        let records = stage.records()?;
        await_record(&records, "c_lasts");
        match signal {
            Signal::SIGINT => killpg(pid, signal)?,
            signal => kill(pid, signal)?,
        }
        let began = Instant::now();
        let status = end(runner)?;
        ensure!(
            began.elapsed() < STOP_TIMEOUT,
            "{signal}: {:?}",
            began.elapsed()
        );
        let shards = Shards::merge(&records).with_context(|| signal.to_string())?;
        check(&shards.outcomes, signal.as_str());
        let passed = crate::kind(&shards.outcomes, "a_schedules_a_panic");
        assert_eq!(passed, Outcome::Passed, "{signal}");
        assert_eq!(lasting(temporary.path())?, before, "{signal}");
        if signal == Signal::SIGKILL {
            assert_eq!(status.signal(), Some(9));
        } else {
            assert_eq!(status.code(), Some(130), "{signal}");
            assert_eq!(unfinished()?, BTreeSet::new(), "{signal}");
        }
        // What a killed one cannot remove the next one does.
        stage.clean_run()?;
    }
    Ok(())
}
