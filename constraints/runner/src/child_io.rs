//! A child whose output is shown while it runs. It is ended without a signal: the pipe at its standard
//! input hangs up, as it does when this process is killed.

use std::fmt;
use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::StopToken;

/// How long a child may take to exit after its standard input was closed.
const ENDING: Duration = Duration::from_secs(20);

/// What became of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChildEnd {
    /// It ended by itself.
    Ended(ExitStatus),
    /// It was ended because the run is to stop.
    Stopped,
    /// It was ended because its time was up.
    TooLate(Duration),
}

impl fmt::Display for ChildEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(status) => write!(f, "{status}"),
            Self::Stopped => f.write_str("stopped"),
            Self::TooLate(limit) => {
                write!(f, "timed out after {:.0} s", limit.as_secs_f64())
            }
        }
    }
}

/// Runs a command to its end, and shows both outputs as they come.
///
/// # Errors
///
/// If it cannot be run, or does not exit after its standard input was closed.
pub(super) fn run_child(
    mut command: Command,
    limit: Duration,
    stop: StopToken<'_>,
    screen: &mut dyn FnMut(&[u8]),
) -> io::Result<ChildEnd> {
    let (input, lifeline) = io::pipe()?;
    let (output, written) = io::pipe()?;
    command
        .stdin(input)
        .stdout(written.try_clone()?)
        .stderr(written);
    let child = command.spawn()?;
    let id = child.id();
    // It has our ends of its pipes, and would keep the output open.
    drop(command);
    let mut lifeline = Some(lifeline);
    let mut deadline = Instant::now() + limit;
    let mut stopped = None;
    let mut output = Output(output);
    loop {
        let watched = if stopped.is_none() {
            stop
        } else {
            StopToken::NEVER
        };
        match output.wait(watched, deadline)? {
            Event::Bytes(bytes) => screen(&bytes),
            Event::Closed => {
                drop(lifeline);
                return end(child).map(|status| stopped.unwrap_or(ChildEnd::Ended(status)));
            }
            Event::StopToken | Event::Deadline if stopped.is_some() => return Err(goes_on(id)),
            event => {
                stopped = Some(match event {
                    Event::StopToken => ChildEnd::Stopped,
                    _ => ChildEnd::TooLate(limit),
                });
                lifeline.take();
                deadline = Instant::now() + ENDING;
            }
        }
    }
}

/// Its output is closed, so it has ended or is about to.
fn end(mut child: Child) -> io::Result<ExitStatus> {
    let id = child.id();
    let (sender, status) = channel();
    // This thread lives as long as the child.
    thread::spawn(move || sender.send(child.wait()));
    status.recv_timeout(ENDING).map_err(|_| goes_on(id))?
}

fn goes_on(id: u32) -> io::Error {
    let seconds = ENDING.as_secs();
    io::Error::other(format!(
        "process {id} did not exit within {seconds} s after its standard input was closed"
    ))
}

enum Event {
    Bytes(Vec<u8>),
    Closed,
    StopToken,
    Deadline,
}

struct Output(PipeReader);

impl Output {
    fn wait(&mut self, stop: StopToken<'_>, deadline: Instant) -> io::Result<Event> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = vec![PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            fds.extend(stop.fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1));
            match poll(&mut fds, timeout.unwrap_or(PollTimeout::MAX)) {
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
                Ok(_) => {}
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
            // A child that writes without end always has output ready: it comes last.
            if ready.get(1).is_some_and(|ready| *ready) {
                return Ok(Event::StopToken);
            }
            if left.is_zero() {
                return Ok(Event::Deadline);
            }
            if ready[0] {
                let mut bytes = vec![0; 16 << 10];
                let count = self.0.read(&mut bytes)?;
                bytes.truncate(count);
                return Ok(if count == 0 {
                    Event::Closed
                } else {
                    Event::Bytes(bytes)
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_is_shown_while_the_child_runs() {
        let mut seen = String::new();
        // It goes on only when what it said was shown: the screen answers.
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = folder.path().join("answer");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let script = format!(
            "echo one; read answer < {}; echo $answer >&2; exit 3",
            fifo.display()
        );
        let ended = run_child(
            shell(&script),
            Duration::from_secs(60),
            StopToken::NEVER,
            &mut |bytes| {
                let text = String::from_utf8_lossy(bytes).into_owned();
                if text == "one\n" {
                    std::fs::write(&fifo, "two\n").expect("an answer");
                }
                seen += &text;
            },
        );
        let Ok(ChildEnd::Ended(status)) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!((status.code(), seen.as_str()), (Some(3), "one\ntwo\n"));
    }

    #[test]
    fn a_child_ends_at_the_limit_and_at_a_stop() {
        let script = "cat > /dev/null; echo done";
        let mut seen = Vec::new();
        let limit = Duration::from_millis(50);
        let ended = run_child(shell(script), limit, StopToken::NEVER, &mut |bytes| {
            seen.extend_from_slice(bytes);
        });
        assert_eq!(ended.expect("an end"), ChildEnd::TooLate(limit));
        assert_eq!(seen, b"done\n");

        let (stop_reader, mut stop_writer) = io::pipe().expect("a pipe");
        stop_writer.write_all(b"!").expect("a word");
        let stop = StopToken::when_readable(stop_reader.as_fd());
        let ended = run_child(shell(script), Duration::from_secs(60), stop, &mut |_| {});
        assert_eq!(ended.expect("an end"), ChildEnd::Stopped);
    }

    /// A program that writes without end always has output ready.
    #[test]
    fn stop_and_deadline_come_before_output() {
        let (output, mut writer) = io::pipe().expect("a pipe");
        writer.write_all(b"more").expect("output");
        let mut output = Output(output);
        let (stop_reader, mut stop_writer) = io::pipe().expect("a pipe");
        let stop = StopToken::when_readable(stop_reader.as_fd());
        let later = Instant::now() + Duration::from_secs(60);
        let event = output.wait(stop, later).expect("an event");
        assert!(matches!(event, Event::Bytes(bytes) if bytes == b"more"));
        writer.write_all(b"more").expect("output");
        stop_writer.write_all(b"!").expect("a request");
        let event = output.wait(stop, later).expect("an event");
        assert!(matches!(event, Event::StopToken));
        let event = output.wait(StopToken::NEVER, Instant::now());
        assert!(matches!(event, Ok(Event::Deadline)));
    }
}
