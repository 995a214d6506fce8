//! The events that QEMU sent, numbered in the order in which they came.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::error::LostEvents;
use crate::event::Event;

/// Maximum number of events in the log. Beyond it the oldest are dropped, and a reader of them gets
/// [`LostEvents`].
const MAX_EVENTS: usize = 16_384;

/// Maximum memory of the events in the log, in bytes. Short JSON values take up to 80 times the size of their
/// text, so the length of the lines is no measure.
const MAX_BYTES: usize = 16 << 20;

/// A place in a connection's log. Events that come later are at or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    log: u64,
    number: u64,
}

/// The log.
#[derive(Debug)]
pub(crate) struct EventLog {
    /// Tells the logs of a process apart.
    log: u64,
    /// The number of the oldest event that is kept.
    first: u64,
    /// Each with the memory that it uses, in bytes.
    kept: VecDeque<(Event, usize)>,
    /// Their sum.
    bytes: usize,
}

impl Default for EventLog {
    fn default() -> Self {
        static LOGS: AtomicU64 = AtomicU64::new(0);
        Self {
            log: LOGS.fetch_add(1, Ordering::Relaxed),
            first: 0,
            kept: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl EventLog {
    /// Returns the place after the newest event.
    pub(crate) fn end(&self) -> Cursor {
        Cursor {
            log: self.log,
            number: self.first + self.kept.len() as u64,
        }
    }

    /// Adds an event.
    pub(crate) fn push(&mut self, event: Event) {
        let bytes = size_of::<Event>() + event.name.capacity() + heap_bytes(&event.data);
        self.kept.push_back((event, bytes));
        self.bytes += bytes;
        while self.kept.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some((_, oldest)) = self.kept.pop_front() else {
                return;
            };
            self.bytes -= oldest;
            self.first += 1;
        }
    }

    /// Returns the events from a place on, oldest first.
    ///
    /// # Errors
    /// If some of them are gone already, or the place is in another log.
    pub(crate) fn since(&self, cursor: Cursor) -> Result<impl Iterator<Item = &Event>, LostEvents> {
        if cursor.log != self.log {
            return Err(LostEvents::OtherConnection);
        }
        match cursor.number.checked_sub(self.first) {
            Some(skip) => {
                let skip = usize::try_from(skip).unwrap_or(usize::MAX);
                Ok(self.kept.iter().skip(skip).map(|(event, _)| event))
            }
            None => Err(LostEvents::Dropped(self.first - cursor.number)),
        }
    }

    /// Returns the names of the newest events, for messages.
    pub(crate) fn newest_names(&self) -> String {
        const SHOWN: usize = 5;
        let skip = self.kept.len().saturating_sub(SHOWN);
        let names: Vec<&str> = self
            .kept
            .iter()
            .skip(skip)
            .map(|(event, _)| event.name.as_str())
            .collect();
        if names.is_empty() {
            "none".into()
        } else {
            names.join(", ")
        }
    }
}

/// Returns the heap memory of a value, rounded up.
fn heap_bytes(value: &Value) -> usize {
    /// A leaf of a `BTreeMap`, which holds up to 11 members and is at least half full unless it is the
    /// only one.
    const LEAF: usize = 12 * (size_of::<String>() + size_of::<Value>());
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.capacity(),
        Value::Array(items) => {
            let own = items.capacity() * size_of::<Value>();
            own + items.iter().map(heap_bytes).sum::<usize>()
        }
        Value::Object(members) => {
            let own = members.len().div_ceil(5) * LEAF;
            let each = members
                .iter()
                .map(|(key, value)| key.capacity() + heap_bytes(value));
            own + each.sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: usize) -> Event {
        Event {
            name: format!("E{n}"),
            data: Value::Null,
            timestamp_us: None,
            received_us: None,
        }
    }

    #[test]
    fn a_cursor_sees_what_comes_after_it_and_nothing_before() {
        let mut log = EventLog::default();
        log.push(event(0));
        let cursor = log.end();
        log.push(event(1));
        log.push(event(2));
        let names: Vec<_> = log
            .since(cursor)
            .unwrap()
            .map(|e| e.name.as_str())
            .collect();
        assert_eq!(names, ["E1", "E2"]);
        assert_eq!(log.newest_names(), "E0, E1, E2");
    }

    #[test]
    fn full_log_drops_the_oldest_events_and_counts_them() {
        let mut log = EventLog::default();
        let cursor = log.end();
        (0..MAX_EVENTS + 3).for_each(|n| log.push(event(n)));
        assert_eq!(log.since(cursor).err(), Some(LostEvents::Dropped(3)));
        let second = log.end();
        log.push(event(0));
        assert_eq!(log.since(second).unwrap().count(), 1);
    }

    #[test]
    fn a_cursor_of_another_connection_shows_nothing() {
        let cursor = EventLog::default().end();
        let mut log = EventLog::default();
        log.push(event(0));
        assert_eq!(log.since(cursor).err(), Some(LostEvents::OtherConnection));
    }

    #[test]
    fn long_events_drop_the_oldest_too() {
        let mut log = EventLog::default();
        let long = |bytes| Event {
            data: Value::String("x".repeat(bytes)),
            ..event(0)
        };
        let cursor = log.end();
        (0..3).for_each(|_| log.push(long(MAX_BYTES / 2 - 1024)));
        assert_eq!(log.since(cursor).err(), Some(LostEvents::Dropped(1)));
        let second = log.end();
        log.push(long(MAX_BYTES));
        assert_eq!(log.since(second).err(), Some(LostEvents::Dropped(1)));
    }

    /// Its text has 8 bytes for each object, and memory more than 600.
    #[test]
    fn events_of_many_small_objects_are_counted_by_their_memory() {
        let mut log = EventLog::default();
        let cursor = log.end();
        let data: Value = std::iter::repeat_n(serde_json::json!({"a": 0}), 10_000).collect();
        for _ in 0..4 {
            let data = data.clone();
            log.push(Event { data, ..event(0) });
        }
        let lost = log.since(cursor).err();
        assert!(matches!(lost, Some(LostEvents::Dropped(2..))), "{lost:?}");
    }
}
