//! The pool, as a person wants to see it: which thread serves what, and why.

use std::fmt;

use super::threads::queues_text;
use super::{Assignment, DeviceId, IoThreadId, Pool};

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
    /// The devices that it serves, with those whose mapping names it without giving it a queue.
    pub devices: Vec<Served>,
}

/// A device and why it is where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The device.
    pub device: DeviceId,
    /// How many of its queues are served here: 0 for a disk on a controller, which has none of its
    /// own, and for a device whose mapping names the thread without giving it a queue.
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
            devices: served(pool, |assignment, queues| {
                assignment.queues_of(thread, queues)
            }),
        });
        Self {
            threads: threads.collect(),
            main_loop: served(pool, |assignment, queues| match assignment {
                Assignment::MainLoop => Some(usize::from(queues)),
                Assignment::Thread(_) | Assignment::Mapped(_) => None,
            }),
            free_slots: pool.slots.free(),
        }
    }
}

/// The devices that are served here, each with the disks behind it.
fn served(pool: &Pool, queues: impl Fn(&Assignment, u16) -> Option<usize>) -> Vec<Served> {
    let mut all = Vec::new();
    for (device, allocation) in &pool.allocations {
        let assignments = pool.assignments_of(device);
        let here: Vec<usize> = assignments.filter_map(|(a, q)| queues(a, q)).collect();
        if here.is_empty() {
            continue;
        }
        all.push(Served {
            device: device.clone(),
            queues: here.iter().sum(),
            why: allocation.why(),
        });
        all.extend(pool.addresses(device).map(|(disk, address)| Served {
            device: disk.clone(),
            queues: 0,
            why: address.to_string(),
        }));
    }
    all
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
            let Served {
                device,
                queues,
                why,
            } = served;
            match queues {
                0 => format!("{device} ({why})"),
                _ => format!("{device} ({}; {why})", queues_text(*queues)),
            }
        })
        .collect();
    match texts.as_slice() {
        [] => writeln!(f, "idle"),
        texts => writeln!(f, "{}", texts.join(", ")),
    }
}
