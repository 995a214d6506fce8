//! An IOThread as QEMU makes it.

use iothread_pool::IoThreadId;
use qmp_client::command::{IoThreadObject, IoThreadProperties};

/// QEMU's polling properties, its own defaults where `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Polling {
    /// `indep_iothreads_poll_max_ns`: maximum polling time of an idle thread, in nanoseconds.
    /// Zero: it sleeps, and so its CPU time shows the work that it did.
    pub max_ns: Option<u64>,
    /// `indep_iothreads_poll_grow`: the factor by which the time grows.
    pub grow: Option<u64>,
    /// `indep_iothreads_poll_shrink`: the divisor by which it shrinks.
    pub shrink: Option<u64>,
}

/// The object that makes a thread which polls so: for `-object` and for `object-add`.
pub fn object(id: &IoThreadId, polling: Polling) -> IoThreadObject<'_> {
    let properties = IoThreadProperties {
        poll_max_ns: polling.max_ns,
        poll_grow: polling.grow,
        poll_shrink: polling.shrink,
        ..IoThreadProperties::default()
    };
    IoThreadObject::new(id.as_str(), properties)
}
