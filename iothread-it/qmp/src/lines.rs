//! A channel of lines: one thread reads what comes, and any may write, a whole line at a time.
//!
//! The peer is not trusted: a line that is longer than 2 MiB ends the channel.

use std::io::{self, BufRead, BufReader, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::codec::MAX_LINE_LENGTH;
use crate::wait::{Deadline, Watched};

/// The maximum size of one write(2), in bytes. The kernel's time limit (`SO_SNDTIMEO`) holds for each
/// buffer that it allocates for the write, not for the whole of it, and no buffer is smaller than this.
const WRITE_SIZE: usize = 16 << 10;

/// Our end of the channel. When it is dropped, the reading thread ends.
#[derive(Debug)]
pub struct Lines {
    writer: UnixStream,
    /// Whether a line is being written.
    writing: Watched<bool>,
    /// When the newest line had been read.
    newest: Arc<Mutex<Option<Instant>>>,
}

impl Lines {
    /// Starts to read. `on_line` gets each line with its end, `on_end` why there are no more.
    pub fn open(
        stream: UnixStream,
        name: &str,
        mut on_line: impl FnMut(&[u8]) + Send + 'static,
        on_end: impl FnOnce(String) + Send + 'static,
    ) -> io::Result<Self> {
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
            // The reader has stopped, so shut down the socket for the peer not to block.
            let _ = reader.get_ref().shutdown(Shutdown::Both);
        })?;
        Ok(Self {
            writer: stream,
            writing: Watched::new(false),
            newest,
        })
    }

    /// Returns when the newest line had been read, before anybody saw it.
    pub fn newest(&self) -> Option<Instant> {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line by a deadline, and passes a descriptor along if there is one. Returns `false` if
    /// the deadline passed before a byte was written. After an error a part of the line may have been
    /// written, and the channel can no longer be used.
    pub fn send_by(
        &self,
        line: &[u8],
        passed: Option<BorrowedFd<'_>>,
        deadline: Deadline,
    ) -> io::Result<bool> {
        let is_free = |writing: &mut bool| (!std::mem::replace(writing, true)).then_some(());
        if self.writing.wait(deadline, is_free).is_none() {
            return Ok(false);
        }
        let written = self.write(line, passed, deadline);
        self.writing.with(|writing| *writing = false);
        written
    }

    fn write(
        &self,
        line: &[u8],
        passed: Option<BorrowedFd<'_>>,
        deadline: Deadline,
    ) -> io::Result<bool> {
        let mut writer = &self.writer;
        let mut sent = 0;
        while sent < line.len() {
            // A peer that reads slowly gets no more time than one that reads nothing.
            if sent > 0 && deadline.has_passed() {
                return Err(ErrorKind::TimedOut.into());
            }
            // What fits is written even when the time is up. Zero would be no limit.
            let limit = deadline.remaining().max(Duration::from_millis(1));
            writer.set_write_timeout(Some(limit))?;
            let rest = &line[sent..];
            let part = &rest[..rest.len().min(WRITE_SIZE)];
            let written = match passed {
                // The descriptor goes with the first byte.
                Some(passed) if sent == 0 => sendmsg::<()>(
                    writer.as_raw_fd(),
                    &[IoSlice::new(part)],
                    &[ControlMessage::ScmRights(&[passed.as_raw_fd()])],
                    MsgFlags::MSG_NOSIGNAL,
                    None,
                )
                .map_err(io::Error::from),
                _ => writer.write(part),
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
        // The reader thread holds a duplicated descriptor.
        let _ = self.writer.shutdown(Shutdown::Both);
    }
}

fn read_all(reader: &mut impl BufRead, on_line: &mut impl FnMut(&[u8])) -> String {
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = reader.by_ref().take(MAX_LINE_LENGTH as u64);
        match limited.read_until(b'\n', &mut line) {
            Ok(0) => return "the peer closed it".to_owned(),
            Ok(MAX_LINE_LENGTH) if line.last() != Some(&b'\n') => {
                return format!("the peer sent a line that is longer than {MAX_LINE_LENGTH} bytes");
            }
            Ok(_) => on_line(&line),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A peer that ends can show as a reset instead of an end.
            Err(error) => return error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// The first write waits for room, and the peer makes none.
    #[test]
    fn queued_write_ends_at_its_own_deadline() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let lines = Lines::open(ours, "test", |_| (), |_| ()).unwrap();
        let long = vec![b'x'; 64 << 20];
        thread::scope(|scope| {
            let first = scope.spawn(|| lines.send_by(&long, None, Deadline::after(SOON)));
            theirs.read_exact(&mut [0]).unwrap();
            let (start, span) = (Instant::now(), Duration::from_millis(50));
            let second = lines.send_by(b"y\n", None, Deadline::after(span));
            assert!(start.elapsed() < SOON / 2, "{:?}", start.elapsed());
            assert!(matches!(second, Ok(false)), "{second:?}");
            drop(theirs);
            assert!(first.join().unwrap().is_err());
        });
    }

    #[test]
    fn write_to_a_slow_reader_ends_at_its_deadline() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let lines = Lines::open(ours, "test", |_| (), |_| ()).unwrap();
        let long = vec![b'x'; 64 << 20];
        thread::scope(|scope| {
            let write = scope.spawn(|| {
                let written =
                    lines.send_by(&long, None, Deadline::after(Duration::from_millis(50)));
                drop(lines);
                written
            });
            let mut read = 0;
            let mut part = [0; 4096];
            while let bytes @ 1.. = theirs.read(&mut part).unwrap() {
                read += bytes;
                thread::sleep(Duration::from_millis(1));
            }
            assert!(read < long.len(), "all was written");
            let error = write.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        });
    }

    #[test]
    fn overlong_line_closes_the_channel() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ((line, lines), (end, ended)) = (channel(), channel());
        let _open = Lines::open(
            ours,
            "test",
            move |bytes| line.send(bytes.len()).unwrap(),
            move |why| end.send(why).unwrap(),
        )
        .unwrap();
        thread::spawn(move || {
            theirs.write_all(b"short\n").unwrap();
            // It fails once the channel is closed.
            while theirs.write_all(&[b'x'; 4096]).is_ok() {}
        });
        assert_eq!(lines.recv_timeout(SOON), Ok(6));
        let why = ended.recv_timeout(SOON).unwrap();
        assert!(why.contains("longer than"), "{why}");
    }
}
