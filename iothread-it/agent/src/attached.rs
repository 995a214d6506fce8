//! Programs that the host acts on while they run: standard input, signals, and closed output.

use std::collections::HashMap;
use std::io::{PipeWriter, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use guest_agent::protocol::{Failure, FailureKind, RequestId, Stream, TerminalSize};
use nix::unistd::Pid;

use crate::failure::OrFailure;
use crate::sync::lock;
use crate::terminal;

/// The attached programs, by the requests that run them.
#[derive(Default)]
pub(crate) struct Attached(Mutex<HashMap<RequestId, Arc<Program>>>);

/// What the host can reach of a program.
#[derive(Default)]
pub(crate) struct Program {
    pid: OnceLock<Pid>,
    /// The writing end of its standard input. A thread that writes holds it too.
    input: Mutex<Option<Arc<PipeWriter>>>,
    /// Whether standard output and standard error are to be closed.
    closed: [AtomicBool; 2],
}

/// A program in the table, until this is dropped.
pub(crate) struct Entered<'a> {
    table: &'a Attached,
    id: RequestId,
    program: Arc<Program>,
}

impl Attached {
    /// Adds a program that is about to start.
    pub(crate) fn enter(&self, id: RequestId) -> Entered<'_> {
        let program = Arc::new(Program::default());
        lock(&self.0).insert(id, Arc::clone(&program));
        Entered {
            table: self,
            id,
            program,
        }
    }

    /// Finds the program of a request.
    pub(crate) fn find(&self, id: RequestId) -> Result<Arc<Program>, Failure> {
        lock(&self.0).get(&id).cloned().ok_or_else(ended)
    }
}

impl Entered<'_> {
    /// Adds what is known once the program runs.
    pub(crate) fn started(&self, pid: Pid, input: Option<PipeWriter>) {
        *lock(&self.program.input) = input.map(Arc::new);
        let _ = self.program.pid.set(pid);
    }

    /// Returns whether an output stream is to be closed.
    pub(crate) fn is_closed(&self, stream: Stream) -> bool {
        self.program.closed[index(stream)].load(Ordering::Relaxed)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        lock(&self.table.0).remove(&self.id);
    }
}

impl Program {
    pub(crate) fn pid(&self) -> Result<Pid, Failure> {
        self.pid.get().copied().ok_or_else(ended)
    }

    /// Writes to its standard input; no bytes close it. Blocks until the program has read so much that
    /// all bytes fit, has closed its end, or has ended.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        if bytes.is_empty() {
            lock(&self.input).take();
            return Ok(());
        }
        // Not locked while it writes.
        let input = lock(&self.input).clone().ok_or_else(ended)?;
        let written = (&*input).write_all(bytes);
        written.or_failure(|| "write to standard input".into())
    }

    /// Sets the size of its terminal.
    pub(crate) fn resize(&self, size: TerminalSize) -> Result<(), Failure> {
        let input = lock(&self.input).clone().ok_or_else(ended)?;
        terminal::resize(&*input, size).or_failure(|| "resize a terminal".into())
    }

    pub(crate) fn close_output(&self, stream: Stream) {
        self.closed[index(stream)].store(true, Ordering::Relaxed);
    }
}

fn index(stream: Stream) -> usize {
    usize::from(stream == Stream::Stderr)
}

fn ended() -> Failure {
    Failure {
        kind: FailureKind::NoSuchProgram,
        message: "the program has ended, or its standard input is closed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn input_blocks_until_it_is_read_and_no_bytes_close_it() {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let table = Attached::default();
        let id = RequestId(1);
        let entered = table.enter(id);
        let early = table.find(id).unwrap();
        assert!(early.pid().is_err() && early.write(b"x").is_err());
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let input = child.stdin.take().map(OwnedFd::from);
        entered.started(pid, input.map(PipeWriter::from));
        let program = table.find(id).unwrap();
        assert_eq!(program.pid().unwrap(), pid);
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let read = std::thread::scope(|scope| {
            scope.spawn(|| {
                program.write(&bytes).unwrap();
                program.write(b"").unwrap();
            });
            child.wait_with_output().unwrap().stdout
        });
        assert!(read == bytes);
        assert!(program.write(b"late").is_err());
        drop(entered);
        assert!(table.find(id).is_err());
    }
}
