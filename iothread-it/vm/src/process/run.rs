//! Runs a program to its end, under a deadline, with its output read line by line.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::spawner;

/// How many lines of each stream are kept for an error's text.
const KEPT_LINES: usize = 200;

/// How long output may lag behind the exit of the program that wrote it.
///
/// Only a grandchild that keeps the pipe open makes use of it all.
const DRAIN: Duration = Duration::from_secs(2);

/// A program about to be run.
#[derive(Debug)]
pub struct Run<'a> {
    /// What is run and why, for error texts: `apt-get update`.
    pub what: &'a str,
    /// The program with its arguments; its streams are set up here.
    pub command: Command,
    /// After this long it is killed.
    pub deadline: Duration,
    /// What it reads from its standard input.
    pub input: &'a [u8],
}

/// A program that has ended by itself.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// The last lines of its standard output.
    pub stdout: Vec<String>,
    /// The last lines of its standard error.
    pub stderr: Vec<String>,
}

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It could not be started.
    #[error("{what} cannot be started")]
    Spawn {
        /// What was to run.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It ran for too long and was killed.
    #[error("{what} was still running after {} s and was killed", after.as_secs())]
    TimedOut {
        /// What ran.
        what: String,
        /// The deadline.
        after: Duration,
    },
    /// It ended with a failure.
    #[error("{what} failed ({status}){}", quoted(output))]
    Failed {
        /// What ran.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        output: String,
    },
}

/// Puts a program's own words behind a message, if it said any.
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

impl Run<'_> {
    /// Runs the program and returns how it ended, with each line of standard output also given to
    /// `on_line` as it comes.
    ///
    /// # Errors
    /// If it cannot be started, or is killed at its deadline.
    pub fn finish(mut self, mut on_line: impl FnMut(&str)) -> Result<Finished, ChildError> {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = spawner::spawn(self.command).map_err(|source| ChildError::Spawn {
            what: self.what.into(),
            source,
        })?;
        let events = watch(&mut child, self.input);
        let mut stdout = Tail::default();
        let mut stderr = Tail::default();
        let in_time = collect(
            &events,
            Instant::now() + self.deadline,
            |event| match event {
                Event::Stdout(line) => {
                    on_line(&line);
                    stdout.push(line);
                }
                Event::Stderr(line) => stderr.push(line),
                Event::Closed | Event::Exited => {}
            },
        );
        if !in_time {
            // Nobody else reaps it, so the pid is still its own.
            let _ = child.kill();
        }
        let status = child.wait();
        match status {
            Ok(status) if in_time => Ok(Finished {
                status,
                stdout: stdout.lines(),
                stderr: stderr.lines(),
            }),
            Ok(_) => Err(ChildError::TimedOut {
                what: self.what.into(),
                after: self.deadline,
            }),
            Err(source) => Err(ChildError::Spawn {
                what: self.what.into(),
                source,
            }),
        }
    }

    /// Like [`Run::finish`], but an exit status other than 0 is an error.
    ///
    /// # Errors
    /// As for [`Run::finish`], and if it fails.
    pub fn succeed(self, on_line: impl FnMut(&str)) -> Result<Finished, ChildError> {
        let what = self.what.to_owned();
        let finished = self.finish(on_line)?;
        if finished.status.success() {
            Ok(finished)
        } else {
            let output = finished.complaint();
            Err(ChildError::Failed {
                what,
                status: finished.status,
                output,
            })
        }
    }
}

impl Finished {
    /// What it said on standard error, or if nothing, on standard output.
    pub(crate) fn complaint(&self) -> String {
        let said = if self.stderr.is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        said.join("\n")
    }
}

/// Starts the threads that turn the child's life into events.
fn watch(child: &mut Child, input: &[u8]) -> Receiver<Event> {
    let (sender, events) = channel();
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // A program that does not read its input closes the pipe, which is no concern of ours.
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
        // Waits without reaping, so that the owner can still kill without hitting another process.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(pid), flags) == Err(nix::errno::Errno::EINTR) {}
        let _ = sender.send(Event::Exited);
    });
    events
}

/// Sends each line of a stream, then that it is closed.
fn forward(
    stream: impl Read + Send + 'static,
    as_event: fn(String) -> Event,
    events: Sender<Event>,
) {
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(stream.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if events.send(as_event(text)).is_err() {
                return;
            }
        }
        let _ = events.send(Event::Closed);
    });
}

/// Takes events until the child has exited and its streams are closed; false at the deadline.
fn collect(events: &Receiver<Event>, deadline: Instant, mut take: impl FnMut(Event)) -> bool {
    let (mut exited, mut closed) = (false, 0);
    let mut until = deadline;
    while !(exited && closed == 2) {
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(event) => {
                match event {
                    Event::Exited => {
                        exited = true;
                        until = Instant::now() + DRAIN;
                    }
                    Event::Closed => closed += 1,
                    Event::Stdout(_) | Event::Stderr(_) => {}
                }
                take(event);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return exited,
        }
    }
    true
}

/// The last lines of a stream.
#[derive(Default)]
struct Tail(VecDeque<String>);

impl Tail {
    fn push(&mut self, line: String) {
        if self.0.len() == KEPT_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    fn lines(self) -> Vec<String> {
        self.0.into()
    }
}

#[cfg(test)]
mod tests {
    //! **Scope**: real children; that they die with a killed parent is shown by the whole command.

    use super::*;

    fn shell(script: &str, deadline: Duration) -> Run<'static> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Run {
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
        assert!(matches!(error, ChildError::TimedOut { .. }), "{error}");
        assert!(start.elapsed() < LONG);
    }

    #[test]
    fn a_grandchild_with_the_pipe_does_not_hold_us_up() {
        let start = Instant::now();
        let finished = shell("sleep 30 & echo here", LONG).finish(|_| {}).unwrap();
        assert_eq!(finished.stdout, ["here"]);
        assert!(start.elapsed() < LONG);
    }

    #[test]
    fn a_failure_quotes_what_the_child_said() {
        let error = shell("echo no such thing >&2; exit 3", LONG)
            .succeed(|_| {})
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "a script failed (exit status: 3): no such thing"
        );
    }

    #[test]
    fn input_reaches_the_child_and_every_line_the_caller() {
        let mut run = shell("cat", LONG);
        run.input = b"one\ntwo";
        let mut seen = Vec::new();
        run.succeed(|line| seen.push(line.to_owned())).unwrap();
        assert_eq!(seen, ["one", "two"]);
    }

    #[test]
    fn a_child_may_say_more_than_a_pipe_holds() {
        let finished = shell("seq 100000", LONG).succeed(|_| {}).unwrap();
        assert_eq!(finished.stdout.len(), KEPT_LINES);
        assert_eq!(finished.stdout.last().map(String::as_str), Some("100000"));
    }
}
