//! A process of this host with a time limit, and what it prints.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{self, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::ProcessEnd;
use crate::StopToken;
use kata_test_host::sys::{Child, has_ended, lead_group, pipe, set_nonblocking};

/// How long a process has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// As much as a pipe can hold: what was printed by then is read at once, however fast more comes.
const AT_ONCE: usize = 1 << 20;

/// Runs a command as the leader of a process group, without input. It has ended when its first process
/// has; then the rest of the group is killed. When this process dies, the first process is killed.
///
/// # Errors
///
/// If it cannot be started.
pub(crate) fn run(
    command: Command,
    limit: Duration,
    stop: StopToken<'_>,
    output: &mut dyn FnMut(&[u8]),
) -> io::Result<ProcessEnd> {
    run_started(command, &Command::spawn, limit, stop, output)
}

/// Runs a command like [`run`], which `start` starts.
pub(super) fn run_started(
    mut command: Command,
    start: &dyn Fn(&mut Command) -> io::Result<process::Child>,
    limit: Duration,
    stop: StopToken<'_>,
    output: &mut dyn FnMut(&[u8]),
) -> io::Result<ProcessEnd> {
    let (read, write) = pipe()?;
    set_nonblocking(&read)?;
    command
        .stdin(Stdio::null())
        .stdout(write.try_clone()?)
        .stderr(write);
    lead_group(&mut command);
    let pid = start(&mut command)?.id();
    // It has our writing ends of the pipe.
    drop(command);
    let pid = Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?);
    let child = Child::of(pid);
    let mut printed = Printed(Some(read.into()));
    // No deadline that a clock can tell is further away than a year.
    let mut deadline = Instant::now() + limit.min(Duration::from_secs(365 * 24 * 3600));
    let mut ending = None;
    while !has_ended(pid) {
        let is_late = Instant::now() >= deadline;
        if ending.is_some() && is_late {
            break;
        }
        if ending.is_none() && (is_late || stop.is_requested()) {
            ending = Some(match is_late {
                true => ProcessEnd::TimedOut(limit),
                false => ProcessEnd::Stopped,
            });
            let _ = killpg(pid, Signal::SIGTERM);
            deadline = Instant::now() + GRACE;
        }
        let stop = stop.fd().filter(|_| ending.is_none());
        let open = printed.0.as_ref().map(AsFd::as_fd);
        let watched: Vec<_> = open.into_iter().chain(stop).collect();
        child.wait_or_read(&watched, deadline);
        printed.read(output);
    }
    let status = child.kill_and_reap();
    printed.read(output);
    Ok(ending.unwrap_or_else(|| end(status)))
}

fn end(status: Option<WaitStatus>) -> ProcessEnd {
    match status {
        Some(WaitStatus::Exited(_, status)) => ProcessEnd::Exited(status),
        Some(WaitStatus::Signaled(_, signal, _)) => ProcessEnd::Signaled(signal as i32),
        _ => ProcessEnd::Crashed("it ended, and its exit status is not known".to_owned()),
    }
}

/// The reading end of a process's output; `None` once the other end is closed.
struct Printed(Option<File>);

impl Printed {
    /// Passes on what is there.
    fn read(&mut self, output: &mut dyn FnMut(&[u8])) {
        let mut chunk = [0; 16 << 10];
        for _ in 0..AT_ONCE / chunk.len() {
            let Some(pipe) = &mut self.0 else { return };
            match pipe.read(&mut chunk) {
                Ok(0) => self.0 = None,
                Ok(count) => output(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    const AMPLE: Duration = Duration::from_secs(60);

    fn shell(
        script: &str,
        limit: Duration,
        stop: StopToken<'_>,
        output: &mut dyn FnMut(&[u8]),
    ) -> ProcessEnd {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, limit, stop, output).expect("a shell")
    }

    #[test]
    fn both_outputs_come_in_order_with_the_end() {
        let mut text = Vec::new();
        let mut keep = |bytes: &[u8]| text.extend_from_slice(bytes);
        let script = "echo one; echo two >&2; echo three; exit 3";
        let end = shell(script, AMPLE, StopToken::NEVER, &mut keep);
        assert_eq!(end, ProcessEnd::Exited(3));
        assert_eq!(String::from_utf8_lossy(&text), "one\ntwo\nthree\n");
        let end = shell("kill -SEGV $$", AMPLE, StopToken::NEVER, &mut |_| {});
        assert_eq!(end.signal().as_deref(), Some("SIGSEGV"));
    }

    /// SIGTERM first, to the whole group, so that a test can clean up.
    #[test]
    fn the_time_limit_ends_the_group_and_sigterm_comes_first() {
        let mut text = Vec::new();
        let mut keep = |bytes: &[u8]| text.extend_from_slice(bytes);
        let limit = Duration::from_millis(300);
        let script = "trap 'echo cleaned; exit 0' TERM; sleep 1000 & wait";
        let start = Instant::now();
        let end = shell(script, limit, StopToken::NEVER, &mut keep);
        assert_eq!(end, ProcessEnd::TimedOut(limit));
        assert!(start.elapsed() < GRACE, "{:?}", start.elapsed());
        assert_eq!(String::from_utf8_lossy(&text), "cleaned\n");
    }

    #[test]
    fn what_ignores_sigterm_is_killed() {
        let limit = Duration::from_millis(100);
        let script = "trap '' TERM; while :; do sleep 1; done";
        let end = shell(script, limit, StopToken::NEVER, &mut |_| {});
        assert_eq!(end, ProcessEnd::TimedOut(limit));
    }

    #[test]
    fn a_stop_ends_a_process_that_prints_without_end() {
        let (stop_reader, mut stop_writer) = io::pipe().expect("a pipe");
        stop_writer.write_all(b"!").expect("a request");
        let stop = StopToken::when_readable(stop_reader.as_fd());
        let script = "while :; do echo more; done";
        assert_eq!(shell(script, AMPLE, stop, &mut |_| {}), ProcessEnd::Stopped);
    }

    /// A daemon that keeps the output open is no reason to wait, and does not stay.
    #[test]
    fn a_process_that_is_left_behind_is_killed() {
        let mut text = Vec::new();
        let mut keep = |bytes: &[u8]| text.extend_from_slice(bytes);
        let start = Instant::now();
        let end = shell("sleep 1000 & echo $!", AMPLE, StopToken::NEVER, &mut keep);
        assert_eq!(end, ProcessEnd::Exited(0));
        assert!(start.elapsed() < AMPLE);
        let left: i32 = String::from_utf8_lossy(&text)
            .trim()
            .parse()
            .expect("an id");
        // SIGKILL was sent; it takes a moment.
        Child::of(Pid::from_raw(left)).wait_or_read(&[], Instant::now() + AMPLE);
        let stat = std::fs::read_to_string(format!("/proc/{left}/stat")).unwrap_or_default();
        let gone = stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ");
        assert!(gone, "{stat}");
    }
}
