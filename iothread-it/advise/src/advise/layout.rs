//! The ways to place disks on threads that are compared.

use std::fmt;
use std::num::NonZeroUsize;

use iothread_pool::{IoThreadId, Placement};

/// How the disks of a VM are served. Ordered from the simplest: fewer threads, fewer queues, QEMU's own polling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layout {
    /// The number of IOThreads; 0 is the main loop.
    pub threads: usize,
    /// Whether the queues of each disk are spread over all threads. Else each disk has one thread, in turn.
    pub spread: bool,
    /// The number of queues of each disk.
    pub queues: u16,
    /// Whether threads sleep at once instead of polling for QEMU's time.
    pub polling_off: bool,
}

/// The limits of a comparison.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) disks: usize,
    pub(super) threads: usize,
    pub(super) vcpus: u16,
    /// Whether QEMU spreads the queues of a disk over threads.
    pub(super) spreads: bool,
}

impl Layout {
    /// Whether the disks are on the same threads in both: they differ in polling at most.
    pub(super) fn has_disks_of(&self, other: &Self) -> bool {
        let polling_off = other.polling_off;
        *other
            == Self {
                polling_off,
                ..*self
            }
    }

    /// Every layout within limits, from the simplest.
    pub(super) fn all(limits: &Limits) -> Vec<Self> {
        let mut layouts = Vec::new();
        let mut queue_counts = vec![1, limits.vcpus];
        queue_counts.dedup();
        for threads in thread_counts(limits.threads) {
            for spread in [false, true] {
                for &queues in &queue_counts {
                    for polling_off in [false, true] {
                        layouts.push(Self {
                            threads,
                            spread,
                            queues,
                            polling_off,
                        });
                    }
                }
            }
        }
        layouts.retain(|layout| layout.is_useful(limits));
        layouts.sort();
        layouts
    }

    /// Whether it differs from the others: no thread is without work, and only IOThreads poll.
    fn is_useful(&self, limits: &Limits) -> bool {
        let works = match self.spread {
            true => limits.spreads && self.threads > 1 && self.threads <= self.queues.into(),
            false => self.threads <= limits.disks,
        };
        works && (self.threads > 0 || !self.polling_off)
    }

    /// The placement of a disk, by its number.
    pub(super) fn placement(&self, disk: usize) -> Placement {
        match (NonZeroUsize::new(self.threads), self.spread) {
            (None, _) => Placement::MainLoop,
            (Some(threads), true) => Placement::Spread(threads),
            (Some(threads), false) => Placement::Pinned(IoThreadId::indep(disk % threads)),
        }
    }

    /// The lines of Kata's configuration. Placement and polling are keys of this project's pool; upstream uses
    /// the first thread only.
    pub(super) fn kata(&self) -> String {
        if self.threads == 0 {
            return format!("enable_iothreads = false\nnum_queues = {}\n", self.queues);
        }
        let placement = match self.spread {
            true => format!("spread:{}", self.threads),
            false => "round-robin".to_owned(),
        };
        let polling = match self.polling_off {
            true => "indep_iothreads_poll_max_ns = 0\n",
            false => "",
        };
        format!(
            "enable_iothreads = true\nindep_iothreads = {}\nindep_iothreads_placement = \"{placement}\"\n\
             {polling}num_queues = {}\n",
            self.threads, self.queues
        )
    }
}

/// None, and powers of two up to a limit, which counts too.
fn thread_counts(limit: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(1), |count| Some(count * 2));
    let mut counts: Vec<usize> = std::iter::once(0)
        .chain(powers.take_while(|count| *count < limit))
        .chain([limit])
        .collect();
    counts.dedup();
    counts
}

/// Writes `2 threads, 1 queue, no polling`.
impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.threads, self.spread) {
            (0, _) => f.write_str("main loop")?,
            (1, _) => f.write_str("1 thread")?,
            (threads, false) => write!(f, "{threads} threads")?,
            (threads, true) => write!(f, "each disk on {threads} threads")?,
        }
        match self.queues {
            1 => f.write_str(", 1 queue")?,
            queues => write!(f, ", {queues} queues")?,
        }
        match self.polling_off {
            true => f.write_str(", no polling"),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use guest_vm::config;

    use super::*;

    fn shown(disks: usize, threads: usize, vcpus: u16, spreads: bool) -> Vec<String> {
        let limits = Limits {
            disks,
            threads,
            vcpus,
            spreads,
        };
        let layouts = Layout::all(&limits);
        layouts.iter().map(Layout::to_string).collect()
    }

    #[test]
    fn layouts_are_listed_from_the_simplest() {
        assert_eq!(
            shown(1, 1, 1, true),
            [
                "main loop, 1 queue",
                "1 thread, 1 queue",
                "1 thread, 1 queue, no polling"
            ]
        );
        let all = shown(4, 4, 2, true);
        assert_eq!(all.len(), 2 + 3 * 4 + 2);
        assert!(all.contains(&"each disk on 2 threads, 2 queues, no polling".to_owned()));
        assert!(
            shown(4, 4, 2, false)
                .iter()
                .all(|layout| !layout.contains("each disk"))
        );
        // Six threads are the limit, and no power of two.
        assert!(shown(8, 6, 1, false).contains(&"6 threads, 1 queue".to_owned()));
        assert!(
            shown(2, 6, 1, false)
                .iter()
                .all(|layout| !layout.contains("4 threads"))
        );
    }

    #[test]
    fn kata_s_configuration_reads_the_lines() {
        let limits = Limits {
            disks: 4,
            threads: 4,
            vcpus: 4,
            spreads: true,
        };
        for layout in Layout::all(&limits) {
            let text = format!(
                "[hypervisor.qemu]\nblock_device_driver = \"virtio-blk-pci\"\n{}",
                layout.kata()
            );
            let read =
                config::read(&text).unwrap_or_else(|error| panic!("{layout}: {error}\n{text}"));
            assert_eq!(read.iothreads.count, layout.threads, "{layout}");
            assert_eq!(read.num_queues, Some(layout.queues), "{layout}");
            let polls = read.iothreads.properties.poll_max_ns != Some(0);
            assert_eq!(polls, !layout.polling_off, "{layout}");
        }
    }
}
