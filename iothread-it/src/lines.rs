//! A channel of lines: one thread reads what comes, and any may write, a whole line at a time.

use std::io::{self, BufRead, BufReader, ErrorKind, IoSlice, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::wait::Deadline;

/// Our end of the channel. When it is dropped, the reading thread ends.
#[derive(Debug)]
pub(crate) struct Lines {
    writer: Mutex<UnixStream>,
    /// When the newest line had been read.
    newest: Arc<Mutex<Option<Instant>>>,
}

impl Lines {
    /// Starts to read. `on_line` gets each line with its end, `on_end` why there are no more.
    pub(crate) fn open(
        stream: UnixStream,
        name: &str,
        write_timeout: Duration,
        mut on_line: impl FnMut(&[u8]) + Send + 'static,
        on_end: impl FnOnce(String) + Send + 'static,
    ) -> io::Result<Self> {
        stream.set_write_timeout(Some(write_timeout))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let newest = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&newest);
        let mut on_line = move |line: &[u8]| {
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            on_line(line);
        };
        thread::Builder::new().name(name.into()).spawn(move || {
            let why = read_all(&mut reader, &mut on_line);
            on_end(why);
        })?;
        Ok(Self {
            writer: Mutex::new(stream),
            newest,
        })
    }

    /// Returns when the newest line had been read, before anybody saw it.
    pub(crate) fn newest(&self) -> Option<Instant> {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line. After an error half of it may be out, and the channel is of no use.
    pub(crate) fn send(&self, line: &[u8]) -> io::Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(line)
    }

    /// Writes a line by a deadline, and passes a descriptor along if there is one. Returns whether
    /// the line is out; if not, nothing of it is, and the channel can be used on.
    pub(crate) fn send_by(
        &self,
        line: &[u8],
        passed: Option<BorrowedFd<'_>>,
        deadline: Deadline,
    ) -> io::Result<bool> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sent = 0;
        while sent < line.len() {
            // What fits is written even when the time is up. Zero would be no limit.
            let limit = deadline.remaining().max(Duration::from_millis(1));
            writer.set_write_timeout(Some(limit))?;
            let written = match passed {
                // The descriptor goes with the first byte.
                Some(passed) if sent == 0 => sendmsg::<()>(
                    writer.as_raw_fd(),
                    &[IoSlice::new(line)],
                    &[ControlMessage::ScmRights(&[passed.as_raw_fd()])],
                    MsgFlags::MSG_NOSIGNAL,
                    None,
                )
                .map_err(io::Error::from),
                _ => writer.write(&line[sent..]),
            };
            match written {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && sent == 0 => {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // The reading thread holds a descriptor of its own.
        let writer = self
            .writer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = writer.shutdown(Shutdown::Both);
    }
}

fn read_all(reader: &mut impl BufRead, on_line: &mut impl FnMut(&[u8])) -> String {
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return "the other end closed it".to_owned(),
            Ok(_) => on_line(&line),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A peer that ends can show as a reset instead of an end.
            Err(error) => return error.to_string(),
        }
    }
}
