//! Forwards what a program writes to its pipes.

use std::collections::VecDeque;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use guest_agent::protocol::{Bytes, Notice, Stream};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The maximum size of a notice, in bytes.
const CHUNK: usize = 16 * 1024;

/// How much of the end of an output over its limit is sent: a failed test prints its reason last.
const END: usize = 64 * 1024;

/// How long a short text waits for the next one, unless its program ends. A test prints several, and an
/// emulated machine takes as long to send one as to run the test between two of them.
const REST: Duration = Duration::from_millis(5);

/// A text that is short.
const SHORT: usize = 4096;

/// What a wait has found.
#[derive(PartialEq, Eq)]
enum Found {
    /// The event is readable.
    Event,
    /// Text, or the end of a pipe.
    Output,
    Nothing,
}

/// The open pipes of a program.
pub(crate) struct Outputs<'a> {
    pipes: Vec<Output>,
    /// Whether texts wait for the next one.
    rests: bool,
    /// Whether the last text was a long one.
    is_bulk: bool,
    is_closed: &'a dyn Fn(Stream) -> bool,
    send: &'a dyn Fn(Notice),
}

impl<'a> Outputs<'a> {
    /// Takes a program's pipes. Of more than `limit` bytes of each, the end is sent last. One is closed
    /// when more is read from it after `is_closed` holds.
    pub(crate) fn new(
        pipes: Vec<(Stream, PipeReader)>,
        limit: Option<u64>,
        is_closed: &'a dyn Fn(Stream) -> bool,
        send: &'a dyn Fn(Notice),
    ) -> Self {
        let pipes = pipes.into_iter();
        Self {
            pipes: pipes
                .map(|(stream, pipe)| Output::new(stream, pipe, limit))
                .collect(),
            rests: true,
            is_bulk: false,
            is_closed,
            send,
        }
    }

    /// Sends each text at once: somebody may be waiting for it.
    pub(crate) fn without_rest(mut self) -> Self {
        self.rests = false;
        self
    }

    /// Sends what is read until an event is readable, or the deadline has passed. Returns whether it was the event.
    pub(crate) fn forward(&mut self, event: BorrowedFd<'_>, deadline: Option<Instant>) -> bool {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return false;
            }
            if self.step(Some(event), left) == Found::Event {
                return true;
            }
        }
    }

    /// Sends the rest, until all pipes are closed or nothing comes for this time: a process that is blocked in the
    /// kernel keeps them open.
    pub(crate) fn finish(&mut self, silence: Duration) {
        let mut until = Instant::now() + silence;
        while !self.pipes.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            match self.step(None, Some(left)) {
                Found::Output => until = Instant::now() + silence,
                _ if left.is_zero() => break,
                _ => {}
            }
        }
        let send = self.send;
        self.pipes.drain(..).for_each(|mut output| output.end(send));
    }

    /// Waits once, and sends what is read.
    fn step(&mut self, event: Option<BorrowedFd<'_>>, time: Option<Duration>) -> Found {
        let mut ready = self.wait(PollFlags::POLLIN, event, time);
        if event.is_some() && ready.pop().is_some_and(|found| !found.is_empty()) {
            return Found::Event;
        }
        if ready.iter().all(PollFlags::is_empty) {
            return Found::Nothing;
        }
        let has_text = |found: &PollFlags| *found == PollFlags::POLLIN;
        if self.rests && !self.is_bulk && ready.iter().any(has_text) {
            // Ends early when a pipe is closed, or with the event.
            self.wait(PollFlags::empty(), event, Some(REST));
        }
        self.read(&ready);
        Found::Output
    }

    /// Waits for the pipes, and returns what is found of each, and of the event.
    fn wait(
        &self,
        awaited: PollFlags,
        event: Option<BorrowedFd<'_>>,
        time: Option<Duration>,
    ) -> Vec<PollFlags> {
        let pipes = self.pipes.iter();
        let pipes = pipes.map(|output| PollFd::new(output.pipe.as_fd(), awaited));
        let event = event.map(|event| PollFd::new(event, PollFlags::POLLIN));
        let mut fds: Vec<_> = pipes.chain(event).collect();
        // Rounded up, so that a wait does not end before its time. One that is longer is repeated.
        let time = time.map(|time| i32::try_from(time.as_millis() + 1).unwrap_or(i32::MAX));
        let time = time.and_then(|time| PollTimeout::try_from(time).ok());
        match poll(&mut fds, time.unwrap_or(PollTimeout::NONE)) {
            Ok(_) => fds.iter().filter_map(PollFd::revents).collect(),
            // A signal: nothing is known.
            Err(_) => vec![PollFlags::empty(); fds.len()],
        }
    }

    /// Reads from the pipes of which something was found.
    fn read(&mut self, ready: &[PollFlags]) {
        let mut buffer = [0; CHUNK];
        let mut ready = ready.iter();
        self.is_bulk = false;
        let (is_bulk, is_closed, send) = (&mut self.is_bulk, self.is_closed, self.send);
        self.pipes.retain_mut(|output| {
            if ready.next().is_none_or(PollFlags::is_empty) {
                return true;
            }
            match output.pipe.read(&mut buffer) {
                Ok(0) => {
                    output.end(send);
                    false
                }
                // Closes the pipe: the next write fails.
                Ok(_) if is_closed(output.stream) => false,
                Ok(length) => {
                    *is_bulk |= length >= SHORT;
                    output.take(&buffer[..length], send);
                    true
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
                Err(_) => {
                    output.end(send);
                    false
                }
            }
        });
    }
}

/// An open pipe, and how much of it may still be sent.
struct Output {
    stream: Stream,
    pipe: PipeReader,
    /// `None`: all.
    room: Option<usize>,
    /// The last bytes for which there was no room.
    end: VecDeque<u8>,
    dropped: usize,
}

impl Output {
    fn new(stream: Stream, pipe: PipeReader, limit: Option<u64>) -> Self {
        Self {
            stream,
            pipe,
            room: limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            end: VecDeque::new(),
            dropped: 0,
        }
    }

    fn take(&mut self, bytes: &[u8], send: &dyn Fn(Notice)) {
        let (now, later) = bytes.split_at(bytes.len().min(self.room.unwrap_or(usize::MAX)));
        if !now.is_empty() {
            self.send(now.to_vec(), send);
        }
        self.room = self.room.map(|room| room - now.len());
        self.end.extend(later);
        let excess = self.end.len().saturating_sub(END);
        self.end.drain(..excess);
        self.dropped += excess;
    }

    /// Sends the end, after a note of what is missing before it.
    fn end(&mut self, send: &dyn Fn(Notice)) {
        if self.dropped > 0 {
            let note = format!("\n[{} bytes of output were dropped]\n", self.dropped);
            self.send(note.into_bytes(), send);
        }
        let end = Vec::from(std::mem::take(&mut self.end));
        end.chunks(CHUNK)
            .for_each(|chunk| self.send(chunk.to_vec(), send));
    }

    fn send(&self, bytes: Vec<u8>, send: &dyn Fn(Notice)) {
        send(Notice::Output {
            stream: self.stream,
            bytes: Bytes(bytes),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::io::Write;
    use std::thread;

    use nix::sys::eventfd::EventFd;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    const NO_STREAM_CLOSED: &dyn Fn(Stream) -> bool = &|_| false;

    fn forwarded(text: &[u8], limit: Option<u64>) -> Vec<u8> {
        let sent = RefCell::new(Vec::new());
        let keep = |notice| {
            let Notice::Output { bytes, .. } = notice else {
                panic!("{notice:?}")
            };
            sent.borrow_mut().extend(bytes.0);
        };
        let (reader, mut writer) = io::pipe().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || writer.write_all(text).unwrap());
            let pipes = vec![(Stream::Stdout, reader)];
            let mut outputs = Outputs::new(pipes, limit, NO_STREAM_CLOSED, &keep);
            outputs.finish(LONG);
        });
        sent.into_inner()
    }

    #[test]
    fn the_middle_of_a_long_output_is_dropped_with_a_note() {
        let text: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        assert_eq!(forwarded(&text, None), text);
        assert_eq!(forwarded(&text, Some(1_000_000)), text);
        let start = text.len() - END - 10;
        assert_eq!(forwarded(&text, Some(start as u64 + 10)), text);
        let short = forwarded(&text, Some(start as u64));
        let note = b"\n[10 bytes of output were dropped]\n".to_vec();
        assert!(short == [&text[..start], &note, &text[start + 10..]].concat());
    }

    /// The writer stays open, as with a process that a test leaves behind.
    #[test]
    fn an_event_and_the_deadline_end_a_wait_for_a_pipe_that_stays_open() {
        let (reader, mut writer) = io::pipe().unwrap();
        let sent = Cell::new(0);
        let count = |_| sent.set(sent.get() + 1);
        let pipes = vec![(Stream::Stderr, reader)];
        let mut outputs = Outputs::new(pipes, None, NO_STREAM_CLOSED, &count);
        let event = EventFd::new().unwrap();
        let time = Duration::from_millis(50);
        let start = Instant::now();
        writer.write_all(b"one").unwrap();
        assert!(!outputs.forward(event.as_fd(), Some(start + time)));
        assert!(start.elapsed() >= time);
        assert_eq!(sent.get(), 1);
        event.write(1).unwrap();
        assert!(outputs.forward(event.as_fd(), None));
        drop(writer);
        outputs.finish(LONG);
    }

    /// As with a process that is blocked in the kernel.
    #[test]
    fn the_rest_of_a_pipe_that_stays_open_is_sent_and_not_waited_for() {
        let (reader, mut writer) = io::pipe().unwrap();
        let sent = RefCell::new(Vec::new());
        let keep = |notice| sent.borrow_mut().push(notice);
        let pipes = vec![(Stream::Stdout, reader)];
        let mut outputs = Outputs::new(pipes, Some(3), NO_STREAM_CLOSED, &keep);
        writer.write_all(b"onetwo").unwrap();
        let start = Instant::now();
        outputs.finish(Duration::from_millis(50));
        assert!(start.elapsed() < LONG);
        let output = |text: &[u8]| Notice::Output {
            stream: Stream::Stdout,
            bytes: Bytes(text.to_vec()),
        };
        assert_eq!(*sent.borrow(), [output(b"one"), output(b"two")]);
        let refused = writer.write_all(b"more").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn texts_that_follow_each_other_are_one_message_unless_somebody_waits() {
        for (interactive, expected) in [(false, 1), (true, 2)] {
            let (reader, mut writer) = io::pipe().unwrap();
            let texts = RefCell::new(Vec::new());
            let (sent, next) = std::sync::mpsc::channel();
            let keep = |notice| {
                texts.borrow_mut().push(notice);
                let _ = sent.send(());
            };
            let pipes = vec![(Stream::Stdout, reader)];
            let mut outputs = Outputs::new(pipes, None, NO_STREAM_CLOSED, &keep);
            if interactive {
                outputs = outputs.without_rest();
            }
            writer.write_all(b"one").unwrap();
            thread::scope(|scope| {
                scope.spawn(move || {
                    if interactive {
                        next.recv_timeout(Duration::from_secs(30)).unwrap();
                    }
                    writer.write_all(b"two").unwrap();
                });
                outputs.finish(LONG);
            });
            assert_eq!(texts.borrow().len(), expected, "{texts:?}");
        }
    }

    #[test]
    fn a_stream_that_is_closed_is_read_no_further() {
        let (reader, mut writer) = io::pipe().unwrap();
        let pipes = vec![(Stream::Stdout, reader)];
        let mut outputs = Outputs::new(pipes, None, &|_| true, &|notice| panic!("{notice:?}"));
        writer.write_all(b"more").unwrap();
        outputs.finish(LONG);
        let refused = writer.write_all(b"more").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
    }
}
