//! Runs a program with a time limit and reads its output line by line.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::spawner;

/// Number of lines of each stream that are kept for the error message.
const MAX_LINES: usize = 200;

/// Number of bytes after which a line is split, so that a program cannot fill the memory with one.
const MAX_LINE: usize = 1 << 20;

/// Number of lines that wait to be taken. A program that writes faster waits for them.
const MAX_WAITING: usize = 64;

/// How long to read the output after the program has exited.
///
/// It is used up only if a grandchild keeps the pipe open.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// A program with a time limit.
#[derive(Debug)]
pub struct BoundedCommand<'a> {
    /// Name for error messages, such as `apt-get update`.
    pub what: &'a str,
    /// The program with its arguments. Its standard streams are replaced.
    pub command: Command,
    /// The program is killed after this time.
    pub deadline: Duration,
    /// Bytes for its standard input.
    pub input: &'a [u8],
}

/// The exit status and the output of a program.
#[derive(Debug)]
pub struct CommandOutput {
    /// The exit status.
    pub status: ExitStatus,
    /// The last lines of its standard output.
    pub stdout: Vec<String>,
    /// The last lines of its standard error.
    pub stderr: Vec<String>,
}

/// Why a program has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The program could not be started.
    #[error("cannot start {what}")]
    Spawn {
        /// Name of the program.
        what: String,
        /// The error of the system call.
        source: std::io::Error,
    },
    /// The program exceeded its time limit and was killed.
    #[error("{what} did not finish within {} s and was killed", after.as_secs())]
    TimedOut {
        /// Name of the program.
        what: String,
        /// The time limit.
        after: Duration,
    },
    /// The program exited with a failure.
    #[error("{what} failed ({status}){}", quoted(output))]
    Failed {
        /// Name of the program.
        what: String,
        /// The exit status.
        status: ExitStatus,
        /// The last lines of its standard error, or else of its standard output.
        output: String,
    },
}

/// Formats the output of a program as the end of a message.
fn quoted(output: &str) -> String {
    if output.trim().is_empty() {
        String::new()
    } else {
        format!(": {}", output.trim())
    }
}

enum Event {
    Stdout(String),
    Stderr(String),
    Closed,
    Exited,
}

impl<'a> BoundedCommand<'a> {
    /// Makes a run without input.
    pub fn new(what: &'a str, command: Command, deadline: Duration) -> Self {
        Self {
            what,
            command,
            deadline,
            input: b"",
        }
    }

    /// Runs the program and returns its exit status and output. `on_line` gets each line of standard
    /// output as it arrives.
    ///
    /// # Errors
    /// If the program cannot be started, or exceeds its time limit.
    pub fn finish(mut self, mut on_line: impl FnMut(&str)) -> Result<CommandOutput, CommandError> {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = spawner::spawn(self.command).map_err(|source| CommandError::Spawn {
            what: self.what.into(),
            source,
        })?;
        let events = watch(&mut child, self.input);
        let (mut stdout, mut stderr) = (VecDeque::new(), VecDeque::new());
        let in_time = collect(
            &events,
            Instant::now() + self.deadline,
            |event| match event {
                Event::Stdout(line) => {
                    on_line(&line);
                    keep(&mut stdout, line);
                }
                Event::Stderr(line) => keep(&mut stderr, line),
                Event::Closed | Event::Exited => {}
            },
        );
        if !in_time {
            // Only this function reaps it, so the pid is still valid.
            let _ = child.kill();
        }
        let status = child.wait();
        match status {
            Ok(status) if in_time => Ok(CommandOutput {
                status,
                stdout: stdout.into(),
                stderr: stderr.into(),
            }),
            Ok(_) => Err(CommandError::TimedOut {
                what: self.what.into(),
                after: self.deadline,
            }),
            Err(source) => Err(CommandError::Spawn {
                what: self.what.into(),
                source,
            }),
        }
    }

    /// Like [`BoundedCommand::finish`], but an exit status other than 0 is an error.
    ///
    /// # Errors
    /// As for [`BoundedCommand::finish`], and if the exit status is not 0.
    pub fn succeed(self, on_line: impl FnMut(&str)) -> Result<CommandOutput, CommandError> {
        let what = self.what.to_owned();
        let finished = self.finish(on_line)?;
        if finished.status.success() {
            return Ok(finished);
        }
        let output = match finished.stderr.is_empty() {
            true => finished.stdout,
            false => finished.stderr,
        };
        Err(CommandError::Failed {
            what,
            status: finished.status,
            output: output.join("\n"),
        })
    }
}

/// Starts the threads that report the output and the exit of the child.
fn watch(child: &mut Child, input: &[u8]) -> Receiver<Event> {
    let (sender, events) = sync_channel(MAX_WAITING);
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // A program that does not read its input closes the pipe; that is no error.
        std::thread::spawn(move || stdin.write_all(&input));
    }
    if let Some(stdout) = child.stdout.take() {
        forward(stdout, Event::Stdout, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        forward(stderr, Event::Stderr, sender.clone());
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    std::thread::spawn(move || {
        // Waits without reaping, so that the pid stays valid for a kill.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(pid), flags) == Err(nix::errno::Errno::EINTR) {}
        let _ = sender.send(Event::Exited);
    });
    events
}

/// Sends each line of a stream, then its end. A line that is too long is sent in pieces.
fn forward(
    stream: impl Read + Send + 'static,
    as_event: fn(String) -> Event,
    events: SyncSender<Event>,
) {
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        let mut next = |line: &mut Vec<u8>| {
            let mut limited = stream.by_ref().take(MAX_LINE as u64);
            matches!(limited.read_until(b'\n', line), Ok(1..))
        };
        while next(&mut line) {
            let text = String::from_utf8_lossy(&line);
            let is_split = line.len() == MAX_LINE && !line.ends_with(b"\n");
            let text = if is_split { &*text } else { text.trim_end() };
            let event = as_event(text.to_owned());
            line.clear();
            // It fails once the receiver is gone, also while it waits for room.
            if events.send(event).is_err() {
                return;
            }
        }
        let _ = events.send(Event::Closed);
    });
}

/// Receives events until the child has exited and its streams are closed. Returns false at the
/// deadline, also if there is always an event.
fn collect(events: &Receiver<Event>, deadline: Instant, mut take: impl FnMut(Event)) -> bool {
    let (mut exited, mut closed) = (false, 0);
    let mut until = deadline;
    while !(exited && closed == 2) {
        let left = until.saturating_duration_since(Instant::now());
        // Without time left `recv_timeout` would still return an event that waits.
        if left.is_zero() {
            return exited;
        }
        let Ok(event) = events.recv_timeout(left) else {
            return exited;
        };
        match event {
            Event::Exited => {
                exited = true;
                until = Instant::now() + DRAIN_TIMEOUT;
            }
            Event::Closed => closed += 1,
            Event::Stdout(_) | Event::Stderr(_) => {}
        }
        take(event);
    }
    true
}

/// Keeps the last lines of a stream.
fn keep(lines: &mut VecDeque<String>, line: String) {
    if lines.len() == MAX_LINES {
        lines.pop_front();
    }
    lines.push_back(line);
}

#[cfg(test)]
mod tests {
    //! **Scope**: real children. `parent_death` tests that they die with their parent.

    use qmp_client::wait::Deadline;

    use super::*;
    use crate::process::ProcessId;

    fn shell(script: &str, deadline: Duration) -> BoundedCommand<'static> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        BoundedCommand {
            what: "a script",
            command,
            deadline,
            input: b"",
        }
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_hanging_child_is_killed_at_its_deadline() {
        let start = Instant::now();
        let error = shell("sleep 60", Duration::from_millis(200))
            .finish(|_| {})
            .unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
        assert!(start.elapsed() < LONG);
    }

    #[test]
    fn a_grandchild_that_keeps_the_pipe_open_does_not_block() {
        let start = Instant::now();
        let finished = shell("sleep 30 & echo here", LONG).finish(|_| {}).unwrap();
        assert_eq!(finished.stdout, ["here"]);
        assert!(start.elapsed() < LONG);
    }

    #[test]
    fn a_failure_quotes_standard_error() {
        let error = shell("echo no such thing >&2; exit 3", LONG)
            .succeed(|_| {})
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "a script failed (exit status: 3): no such thing"
        );
    }

    #[test]
    fn input_reaches_the_child_and_lines_reach_the_caller() {
        let mut run = shell("cat", LONG);
        run.input = b"one\ntwo";
        let mut lines = Vec::new();
        run.succeed(|line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn output_may_exceed_the_size_of_a_pipe() {
        let finished = shell("seq 100000", LONG).succeed(|_| {}).unwrap();
        assert_eq!(finished.stdout.len(), MAX_LINES);
        assert_eq!(finished.stdout.last().map(String::as_str), Some("100000"));
    }

    #[test]
    fn a_child_that_writes_without_end_is_killed_at_its_deadline() {
        let start = Instant::now();
        let error = shell("while :; do echo y; done", Duration::from_millis(200))
            .finish(|_| be_slower_than_the_child(start))
            .unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
    }

    #[test]
    fn a_grandchild_that_writes_without_end_does_not_block_and_loses_its_pipe() {
        let start = Instant::now();
        let mut writer = None;
        shell("(while :; do echo y; done) & echo $!", LONG)
            .finish(|line| {
                writer = writer.or_else(|| line.parse().ok());
                be_slower_than_the_child(start);
            })
            .unwrap();
        let writer = writer.expect("its pid");
        let has_ended = ProcessId::of(writer).map_or(true, |writer| {
            writer.wait_exit(Deadline::after(LONG)).unwrap()
        });
        assert!(has_ended, "its pipe is still open");
    }

    /// Takes a line. The number of lines that wait would grow, were it not bounded.
    #[track_caller]
    fn be_slower_than_the_child(start: Instant) {
        std::thread::sleep(Duration::from_millis(1));
        assert!(start.elapsed() < LONG, "the output has no end");
    }

    #[test]
    fn a_long_line_is_split() {
        let script = format!(
            "head -c {} /dev/zero | tr '\\0' ' '; echo .",
            2 * MAX_LINE + 1
        );
        let mut lengths = Vec::new();
        shell(&script, LONG)
            .succeed(|line| lengths.push(line.len()))
            .unwrap();
        assert_eq!(lengths, [MAX_LINE, MAX_LINE, 2]);
    }
}
