//! The connection: calls on one side, the reader thread on the other.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::codec::{self, ErrorReply, Message, Request};
use crate::command::{Command, GetFd, QmpCapabilities};
use crate::error::{LostEvents, QmpError};
use crate::event::Event;
use crate::event_log::{Cursor, EventLog};
use crate::lines::Lines;
use crate::wait::{Deadline, Watched};

/// A negotiated connection to one QEMU.
#[derive(Debug)]
pub struct Qmp {
    lines: Lines,
    board: Arc<Watched<State>>,
    next_id: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    greeted: bool,
    /// A call puts in its id, the reader its outcome. What is not in here is dropped.
    calls: HashMap<u64, Option<Result<Value, ErrorReply>>>,
    events: EventLog,
    closed: Option<String>,
}

impl State {
    /// Notes why the channel is of no use any more. The first reason counts.
    fn end(&mut self, why: String) {
        self.closed.get_or_insert(why);
    }
}

impl Qmp {
    /// Waits for the greeting and leaves negotiation mode.
    ///
    /// # Errors
    /// If QEMU does not greet in time, ends, or refuses.
    pub fn negotiate(stream: UnixStream, deadline: Deadline) -> Result<Self, QmpError> {
        let board = Arc::new(Watched::new(State::default()));
        let [taken, ended] = [(); 2].map(|()| Arc::clone(&board));
        let lines = Lines::open(
            stream,
            "qmp-reader",
            move |line| taken.with(|state| take_line(state, line)),
            move |why| ended.with(|state| state.end(why)),
        );
        let lines = lines.map_err(|error| closed("QEMU's greeting", error.to_string()))?;
        let qmp = Self {
            lines,
            board,
            next_id: AtomicU64::new(first_id()),
        };
        qmp.wait("QEMU's greeting", deadline, |state| {
            state.greeted.then_some(())
        })?;
        qmp.execute(&QmpCapabilities {}, deadline)?;
        Ok(qmp)
    }

    /// Runs a command and waits for its reply.
    ///
    /// A call that was given up leaves the connection as it is: its reply is dropped when it
    /// comes.
    ///
    /// # Errors
    /// If QEMU refuses, ends, or does not answer in time.
    pub fn execute<C: Command>(
        &self,
        command: &C,
        deadline: Deadline,
    ) -> Result<C::Return, QmpError> {
        self.call(command, None, deadline)
    }

    /// Runs a command that takes a descriptor, such as `add-fd` or `getfd`.
    ///
    /// # Errors
    /// As for [`Qmp::execute`].
    pub fn execute_with_fd<C: Command>(
        &self,
        command: &C,
        descriptor: BorrowedFd<'_>,
        deadline: Deadline,
    ) -> Result<C::Return, QmpError> {
        self.call(command, Some(descriptor), deadline)
    }

    /// Gives QEMU a descriptor, by a name that a later command can use.
    ///
    /// # Errors
    /// As for [`Qmp::execute`].
    pub fn send_fd(
        &self,
        name: &str,
        descriptor: OwnedFd,
        deadline: Deadline,
    ) -> Result<(), QmpError> {
        let command = GetFd { fdname: name };
        self.execute_with_fd(&command, descriptor.as_fd(), deadline)
            .map(|_| ())
    }

    fn call<C: Command>(
        &self,
        command: &C,
        passed: Option<BorrowedFd<'_>>,
        deadline: Deadline,
    ) -> Result<C::Return, QmpError> {
        let unexpected = |source| QmpError::Unexpected {
            command: C::NAME,
            source,
        };
        let request = Request::new(command).map_err(unexpected)?;
        let value = self.send_request(&request, passed, deadline)?;
        codec::read_return::<C>(value).map_err(unexpected)
    }

    /// Runs a command of any type and returns what it returned, not converted to a type.
    ///
    /// # Errors
    /// As for [`Qmp::execute`].
    pub fn request(&self, request: &Request, deadline: Deadline) -> Result<Value, QmpError> {
        self.send_request(request, None, deadline)
    }

    fn send_request(
        &self,
        request: &Request,
        passed: Option<BorrowedFd<'_>>,
        deadline: Deadline,
    ) -> Result<Value, QmpError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "tracing")]
        let _span = tracing::debug_span!("qmp", command = request.name(), id).entered();
        let result = self.reply_to(request, id, passed, deadline);
        #[cfg(feature = "tracing")]
        match &result {
            Ok(_) => tracing::debug!("the command has returned"),
            Err(error) => tracing::debug!(%error, "the command has failed"),
        }
        result
    }

    fn reply_to(
        &self,
        request: &Request,
        id: u64,
        passed: Option<BorrowedFd<'_>>,
        deadline: Deadline,
    ) -> Result<Value, QmpError> {
        let command = request.name();
        let line = request.encode(id);
        self.board.with(|state| state.calls.insert(id, None));
        let result = self.send(command, &line, passed, deadline).and_then(|()| {
            self.wait(&format!("the reply to {command}"), deadline, |state| {
                state.calls.get_mut(&id).and_then(Option::take)
            })
        });
        self.board.with(|state| state.calls.remove(&id));
        result?.map_err(|ErrorReply { class, desc }| QmpError::Refused {
            command,
            class,
            desc,
        })
    }

    /// Returns when the newest line of QEMU's had been read, before anybody saw it.
    pub fn newest_line(&self) -> Option<Instant> {
        self.lines.newest()
    }

    /// Returns the place in the event log from which an action's events can be awaited. Take it
    /// before the action.
    pub fn cursor(&self) -> Cursor {
        self.board.with(|state| state.events.end())
    }

    /// Waits for an event at or after a place in the log.
    ///
    /// # Errors
    /// If it does not come in time, or QEMU ends first.
    pub fn wait_event<T>(
        &self,
        awaited: &str,
        since: Cursor,
        deadline: Deadline,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, QmpError> {
        let found = self.wait(awaited, deadline, |state| match state.events.since(since) {
            Ok(mut events) => events.find_map(&mut pick).map(Ok),
            Err(lost) => Some(Err(lost)),
        })?;
        found.map_err(|lost| QmpError::EventsLost {
            awaited: awaited.to_owned(),
            lost,
        })
    }

    /// Takes the events from a place in the log on, oldest first, and moves the place behind them.
    ///
    /// # Errors
    /// If some of them are gone. The place is then behind the newest event.
    pub fn take_events(&self, from: &mut Cursor) -> Result<Vec<Event>, LostEvents> {
        self.board.with(|state| {
            let taken = state
                .events
                .since(*from)
                .map(|events| events.cloned().collect());
            *from = state.events.end();
            taken
        })
    }

    /// Looks at the events that have come at or after a place in the log, oldest first, without
    /// waiting for more.
    ///
    /// # Errors
    /// If some of them are gone.
    pub fn events_since<T>(
        &self,
        since: Cursor,
        look: impl FnOnce(&mut dyn Iterator<Item = &Event>) -> T,
    ) -> Result<T, LostEvents> {
        self.board.with(|state| {
            state
                .events
                .since(since)
                .map(|mut events| look(&mut events))
        })
    }

    fn send(
        &self,
        command: &str,
        line: &[u8],
        passed: Option<BorrowedFd<'_>>,
        deadline: Deadline,
    ) -> Result<(), QmpError> {
        match self.lines.send_by(line, passed, deadline) {
            Ok(true) => Ok(()),
            // QEMU reads even while it is busy: it is stopped, and the socket is full.
            Ok(false) => Err(self.timed_out(&format!("room for {command}"), deadline)),
            Err(error) => {
                // QEMU would read the next command as the rest of this one.
                let why = format!("cannot write to it: {error}");
                self.board.with(|state| state.end(why.clone()));
                Err(closed(command, why))
            }
        }
    }

    fn timed_out(&self, awaited: &str, deadline: Deadline) -> QmpError {
        QmpError::TimedOut {
            awaited: awaited.to_owned(),
            deadline,
            last_events: self.board.with(|state| state.events.newest_names()),
        }
    }

    /// Waits for something that the reader brings. What it brought before the end counts.
    fn wait<T>(
        &self,
        awaited: &str,
        deadline: Deadline,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, QmpError> {
        let result = self.board.wait(deadline, |state| {
            if let Some(found) = look(state) {
                return Some(Ok(found));
            }
            let why = state.closed.clone()?;
            Some(Err(closed(awaited, why)))
        });
        result.unwrap_or_else(|| Err(self.timed_out(awaited, deadline)))
    }
}

fn closed(awaited: &str, why: String) -> QmpError {
    QmpError::Closed {
        awaited: awaited.to_owned(),
        why,
    }
}

/// Returns a random number, below those that JSON readers round. QEMU may send a new client the reply to a
/// command that was running when the client before it ended, and that one's ids must not be ours.
fn first_id() -> u64 {
    RandomState::new().hash_one(()) >> 12
}

/// Stores a line's event or reply. An unreadable line is ignored: the call that waits for it times
/// out.
fn take_line(state: &mut State, line: &[u8]) {
    match codec::parse(line) {
        Ok(Message::Greeting(_)) => state.greeted = true,
        Ok(Message::Event(mut event)) => {
            event.received_us = now_us();
            state.events.push(event);
        }
        Ok(Message::Reply(reply)) => {
            if let Some(call) = state.calls.get_mut(&reply.id) {
                // A duplicate is ignored.
                call.get_or_insert(reply.result);
            }
        }
        Ok(Message::Error(_)) | Err(_) => {}
    }
}

fn now_us() -> Option<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(now.as_micros()).ok()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::time::Duration;

    use super::*;
    use crate::command::{Cont, Stop};
    use crate::mock::{done, peer, refuses};

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(30))
    }

    #[test]
    fn late_reply_is_dropped_and_the_next_call_works() {
        let mut late = String::new();
        let stream = peer(move |name, id| {
            if name == "stop" {
                late = refuses(id, "Late", "");
                return String::new();
            }
            let own = done(id);
            format!("{late}{{\"event\":\"NEVER_HEARD_OF\",\"more\":1}}\nnot json\n{own}")
        });
        let qmp = Qmp::negotiate(stream, soon()).unwrap();
        let start = qmp.cursor();
        let error = qmp.execute(&Stop {}, Deadline::after(Duration::from_millis(50)));
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("the reply to stop") && text.contains("EARLY"),
            "{text}"
        );
        qmp.execute(&Cont {}, soon()).unwrap();
        let seen = qmp.wait_event("an unknown event", start, soon(), |event| {
            (event.name == "NEVER_HEARD_OF").then_some(())
        });
        assert!(seen.is_ok());
    }

    /// As a stopped QEMU does whose socket is full.
    #[test]
    fn write_to_a_peer_that_does_not_read_ends_at_the_deadline() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (&theirs).write_all(b"{\"QMP\":{}}\n").unwrap();
        let mut peer = theirs.try_clone().unwrap();
        let negotiates = std::thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(&peer).read_line(&mut line).unwrap();
            let line: Value = serde_json::from_str(&line).unwrap();
            let id = line["id"].as_u64().unwrap();
            peer.write_all(done(id).as_bytes()).unwrap();
        });
        let mut filler = ours.try_clone().unwrap();
        let qmp = Qmp::negotiate(ours, soon()).unwrap();
        negotiates.join().unwrap();
        filler.set_nonblocking(true).unwrap();
        for size in [4096, 1] {
            while filler.write(&vec![b' '; size]).is_ok() {}
        }
        filler.set_nonblocking(false).unwrap();
        let start = Instant::now();
        for _ in 0..2 {
            let error = qmp.execute(&Stop {}, Deadline::after(Duration::from_millis(50)));
            let error = error.unwrap_err();
            assert!(matches!(error, QmpError::TimedOut { .. }), "{error}");
        }
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    /// Its ids were counted too.
    #[test]
    fn reply_to_an_earlier_client_is_dropped() {
        let stream = peer(|_, id| {
            let earlier: String = (0..100).map(|id| refuses(id, "Earlier", "")).collect();
            earlier + &done(id)
        });
        let qmp = Qmp::negotiate(stream, soon()).unwrap();
        qmp.execute(&Cont {}, soon()).unwrap();
    }

    #[test]
    fn duplicate_reply_is_ignored() {
        let stream = peer(|_, id| done(id) + &refuses(id, "Second", ""));
        let qmp = Qmp::negotiate(stream, soon()).unwrap();
        for _ in 0..100 {
            qmp.execute(&Cont {}, soon()).unwrap();
        }
    }

    #[test]
    fn closed_channel_ends_every_wait() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (&theirs).write_all(b"{\"QMP\":{}}\n").unwrap();
        drop(theirs);
        let error = Qmp::negotiate(ours, soon()).unwrap_err();
        assert!(matches!(error, QmpError::Closed { .. }), "{error}");
    }
}
