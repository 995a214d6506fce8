//! The pool, as a person wants to see it: which thread serves what, and why.

use std::fmt;

use super::threads::queues_text;
use super::{DeviceId, IoThreadId, Pool};

/// What there is at one moment. Its `Display` is a line for each thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The threads, in the order in which they were made.
    pub threads: Vec<ThreadState>,
    /// The devices that the main loop serves.
    pub main_loop: Vec<Served>,
    /// Slots that are free.
    pub free_slots: usize,
}

/// One thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadState {
    /// Its id.
    pub id: IoThreadId,
    /// Queues that it serves, of all devices together.
    pub queues: usize,
    /// The device that it is dedicated to.
    pub dedicated_to: Option<DeviceId>,
    /// The devices that it serves.
    pub devices: Vec<Served>,
}

/// A device and why it is where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The device.
    pub device: DeviceId,
    /// How many of its queues are served here.
    pub queues: usize,
    /// Why it was placed so.
    pub why: String,
}

impl State {
    pub(super) fn of(pool: &Pool) -> Self {
        let threads = pool.threads.all().iter().map(|thread| ThreadState {
            id: thread.clone(),
            queues: pool.threads.load(thread),
            dedicated_to: pool.threads.dedicated_to(thread).cloned(),
            devices: served(pool, |lease| {
                lease.assignment.queues_of(thread, lease.queues)
            }),
        });
        Self {
            threads: threads.collect(),
            main_loop: served(pool, |lease| match lease.assignment {
                super::Assignment::MainLoop => usize::from(lease.queues),
                _ => 0,
            }),
            free_slots: pool.slots.free(),
        }
    }
}

fn served(pool: &Pool, queues: impl Fn(&super::Lease) -> usize) -> Vec<Served> {
    let leases = pool.leases.iter().map(|(device, lease)| Served {
        device: device.clone(),
        queues: queues(lease),
        why: lease.why.clone(),
    });
    leases.filter(|served| served.queues > 0).collect()
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for thread in &self.threads {
            write!(f, "{}: ", thread.id)?;
            list(f, &thread.devices)?;
        }
        f.write_str("main loop: ")?;
        list(f, &self.main_loop)?;
        writeln!(f, "free slots: {}", self.free_slots)
    }
}

fn list(f: &mut fmt::Formatter<'_>, devices: &[Served]) -> fmt::Result {
    let texts: Vec<String> = devices
        .iter()
        .map(|served| {
            let queues = queues_text(served.queues);
            format!("{} ({queues}; {})", served.device, served.why)
        })
        .collect();
    match texts.as_slice() {
        [] => writeln!(f, "idle"),
        texts => writeln!(f, "{}", texts.join(", ")),
    }
}
