//! Runs a command such as cargo to its end, or until the run is to stop.

use std::io::{self, PipeReader};
use std::os::fd::AsFd;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::session::run_process;
use super::{ProcessEnd, Run, StopToken};

/// How long processes may take to end after the run is to stop: a grace period for tests, and a
/// harness that then kills.
const ENDING: Duration = Duration::from_secs(30);

impl Run {
    /// Runs a command with [what test processes need](Self::env) to its end.
    ///
    /// If `stop` asks meanwhile, the harnesses below the command end their tests, as they do when
    /// this process is killed, and the command gets SIGTERM: cargo hands no signal on. The call
    /// returns when all processes below the command have ended, or after 30 s, when the command is killed.
    ///
    /// # Errors
    ///
    /// If the command cannot be run.
    pub fn run_command(&mut self, command: Command, stop: StopToken<'_>) -> io::Result<ExitStatus> {
        self.run_command_ending(command, stop, ENDING)
    }

    fn run_command_ending(
        &mut self,
        mut command: Command,
        stop: StopToken<'_>,
        ending: Duration,
    ) -> io::Result<ExitStatus> {
        // Every process below the command has the writing end, so the pipe hangs up after the last.
        let (below, held) = io::pipe()?;
        fcntl(&held, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let mut child = command.envs(self.env()).spawn()?;
        drop(held);
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let (ended, end) = io::pipe()?;
        thread::scope(|scope| {
            let waiting = scope.spawn(move || {
                let status = child.wait();
                drop(end);
                status
            });
            wait_for_either(&ended, stop)?;
            if stop.is_requested() {
                self.hang_up();
                if !waiting.is_finished() {
                    // If it has ended just now, its id is not in use again yet.
                    let _ = kill(pid, Signal::SIGTERM);
                }
                let deadline = Instant::now() + ending;
                hangs_up_by(&below, deadline);
                if !hangs_up_by(&ended, deadline) {
                    // It ignores SIGTERM. Its id is not in use again, as above.
                    let _ = kill(pid, Signal::SIGKILL);
                }
            }
            waiting
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the waiting thread panicked")))
        })
    }

    /// Runs a command with [what test processes need](Self::env), in a process group of its own. At the time
    /// limit, or if `stop` asks meanwhile, the group gets SIGTERM, and after a grace period SIGKILL. `output`
    /// gets what it prints.
    ///
    /// # Errors
    ///
    /// If the command cannot be run.
    pub fn run_within(
        &self,
        mut command: Command,
        limit: Duration,
        stop: StopToken<'_>,
        output: &mut dyn FnMut(&[u8]),
    ) -> io::Result<ProcessEnd> {
        command.envs(self.env());
        run_process(command, limit, stop, output)
    }
}

/// Waits until `ended` hangs up or `stop` asks.
fn wait_for_either(ended: &PipeReader, stop: StopToken<'_>) -> io::Result<()> {
    let mut fds = vec![PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
    fds.extend(stop.fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// Waits until every writing end of a pipe is closed, or until the deadline. Returns whether they are.
fn hangs_up_by(pipe: &PipeReader, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
        match poll(&mut fds, left) {
            Err(Errno::EINTR) => {}
            ready => return ready.is_ok_and(|count| count > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    //! Scope: what stands between. That harnesses end is shown by the tests of places.

    use std::io::{PipeWriter, Read, Write};
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_stop_ends_the_command_and_waits_for_its_descendants() {
        let records = tempfile::tempdir().expect("a folder");
        let mut run = Run::start(records.path()).expect("a run");
        let late = records.path().join("late");
        let mut command = Command::new("sh");
        // Like cargo, the shell forwards no signal. The process below it ends a little after the
        // lifeline has hung up.
        let script = "(cat \"/proc/self/fd/$KATA_TEST_LIFELINE\"; sleep 0.2; echo > \"$0\") & \
                      echo; wait";
        let (began, output) = io::pipe().expect("a pipe");
        command.args(["-c", script]).arg(&late).stdout(output);
        let (read, write) = io::pipe().expect("a pipe");
        let stopper = thread::spawn(move || stop_when_begun(began, write));
        let status = run
            .run_command(command, StopToken::when_readable(read.as_fd()))
            .expect("a command");
        assert!(!status.success(), "{status}");
        assert!(late.exists(), "a process below still runs");
        drop(stopper.join());
    }

    /// Asks to stop once the command has printed a byte.
    fn stop_when_begun(mut began: PipeReader, mut stop: PipeWriter) -> PipeWriter {
        began.read_exact(&mut [0]).expect("the shell has started");
        stop.write_all(b"!").expect("a word");
        stop
    }

    #[test]
    fn a_command_that_ignores_the_stop_is_killed() {
        let records = tempfile::tempdir().expect("a folder");
        let mut run = Run::start(records.path()).expect("a run");
        let mut command = Command::new("sh");
        let (began, output) = io::pipe().expect("a pipe");
        let script = "trap '' TERM; echo; exec sleep 20";
        command.args(["-c", script]).stdout(output);
        let (read, write) = io::pipe().expect("a pipe");
        let stopper = thread::spawn(move || stop_when_begun(began, write));
        let stop = StopToken::when_readable(read.as_fd());
        let status = run.run_command_ending(command, stop, Duration::from_millis(100));
        let status = status.expect("a command");
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{status}");
        drop(stopper.join());
    }

    #[test]
    fn the_exit_status_of_a_command_is_returned() {
        let records = tempfile::tempdir().expect("a folder");
        let mut run = Run::start(records.path()).expect("a run");
        let mut command = Command::new("sh");
        command.args(["-c", "test -n \"$KATA_TEST_RUN\" && exit 3"]);
        let status = run
            .run_command(command, StopToken::NEVER)
            .expect("a command");
        assert_eq!(status.code(), Some(3));
    }
}
