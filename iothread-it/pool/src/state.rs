//! What a pool has at one moment: which thread serves what, and why.

use std::fmt;

use super::allocation::Share;
use super::text::queues_text;
use super::{Assignment, DeviceId, IoThreadId, Pool};

/// What there is at one moment, for policies and for people. Its `Display` is a line for each thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The threads, in the order in which they were made.
    pub threads: Vec<ThreadState>,
    /// The devices that the main loop serves.
    pub main_loop: Vec<Served>,
    /// Slots that are free.
    pub free_slots: usize,
    /// The thread that had the last turn of round-robin placement.
    pub last_in_turn: Option<IoThreadId>,
}

/// One thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadState {
    /// Its id.
    pub id: IoThreadId,
    /// Queues that it serves, of all devices together.
    pub queues: usize,
    /// Their load: the sum of their weights.
    pub load: u64,
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
        let thread = |thread: &IoThreadId| {
            let shares = || pool.shares().map(|(_, share)| share);
            ThreadState {
                id: thread.clone(),
                queues: shares().filter_map(|share| share.queues_of(thread)).sum(),
                load: shares().filter_map(|share| load(&share, thread)).sum(),
                dedicated_to: pool.dedicated_to(thread).cloned(),
                devices: served(pool, |share| share.queues_of(thread)),
            }
        };
        Self {
            threads: pool.threads.all.iter().map(thread).collect(),
            main_loop: served(pool, |share| match share.assignment {
                Assignment::MainLoop => Some(usize::from(share.queues)),
                Assignment::Thread(_) | Assignment::Mapped(_) => None,
            }),
            free_slots: pool.slots.free.len(),
            last_in_turn: pool.threads.last_in_turn.clone(),
        }
    }

    /// Returns the threads that are not dedicated to a device.
    pub fn shared(&self) -> impl Iterator<Item = &ThreadState> {
        let threads = self.threads.iter();
        threads.filter(|thread| thread.dedicated_to.is_none())
    }

    /// Returns the threads that are not dedicated to a device, that with the least load first, and of
    /// equals the one that was made first.
    pub fn least_loaded(&self) -> impl Iterator<Item = &ThreadState> {
        let mut threads: Vec<_> = self.shared().collect();
        threads.sort_by_key(|thread| thread.load);
        threads.into_iter()
    }

    /// Returns the thread behind the one that had the last turn, past those that are dedicated to a
    /// device.
    pub fn next_in_turn(&self) -> Option<&ThreadState> {
        let last = self.last_in_turn.as_ref();
        let place = self.threads.iter().position(|t| Some(&t.id) == last);
        let after = place.map_or(0, |place| place + 1);
        let mut in_turn = self.threads.iter().skip(after).chain(&self.threads);
        in_turn.find(|thread| thread.dedicated_to.is_none())
    }
}

fn load(share: &Share<'_>, thread: &IoThreadId) -> Option<u64> {
    let queues = share.queues_of(thread)?;
    Some(queues as u64 * u64::from(share.weight))
}

/// The devices that are served here, each with the disks behind it.
fn served(pool: &Pool, queues: impl Fn(&Share<'_>) -> Option<usize>) -> Vec<Served> {
    let mut all = Vec::new();
    for (device, allocation) in &pool.allocations {
        let shares = pool.shares_of(device);
        let here: Vec<usize> = shares.filter_map(|share| queues(&share)).collect();
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
