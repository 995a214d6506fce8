//! Checks a load before any of its threads starts, and divides it among them.

use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use guest_agent::protocol::{Disk, Failure, Load};

use super::share;
use crate::failure::{OrFailure, bad_request};
use crate::{extent, pattern_io};

const THREADS: RangeInclusive<u64> = 1..=64;
const DEPTH: RangeInclusive<u64> = 1..=256;

/// At most an hour, so that a load ends even if the host has lost track of it.
const DURATION_MS: RangeInclusive<u64> = 1..=3_600_000;

/// Block sizes are multiples of this, the smallest sector.
const SECTOR: u32 = 512;
const LARGEST_BLOCK: u32 = 1 << 20;

/// A checked load.
pub(crate) struct Plan<'a> {
    pub(crate) load: &'a Load,
    /// The disk's device node.
    pub(crate) node: PathBuf,
}

impl<'a> Plan<'a> {
    /// Checks a load. `online` are the CPUs that are online, `memory` is the number of available bytes.
    ///
    /// # Errors
    ///
    /// If a value is out of its range, or the disk or the memory is too small.
    pub(crate) fn new(
        load: &'a Load,
        disk: &Disk,
        online: &[u32],
        memory: u64,
    ) -> Result<Self, Failure> {
        extent::check(&load.extent, disk.size)?;
        within("threads", load.threads.into(), "", THREADS)?;
        within("depth", load.depth.into(), "", DEPTH)?;
        check_block(load.block_size)?;
        check_cpus(&load.cpus, online)?;
        if load.operations == Some(0) {
            return Err(bad_request("operations 0 is less than 1"));
        }
        within("duration", load.duration_ms, " ms", DURATION_MS)?;
        let plan = Self {
            load,
            node: pattern_io::node(&disk.name),
        };
        plan.check_blocks()?;
        plan.check_memory(memory)?;
        Ok(plan)
    }

    /// Returns the CPU that a thread is bound to, if any.
    pub(crate) fn cpu(&self, thread: u32) -> Option<u32> {
        let cpus = &self.load.cpus;
        let index = (thread as usize).checked_rem(cpus.len())?;
        Some(cpus[index])
    }

    fn check_blocks(&self) -> Result<(), Failure> {
        if share::blocks(self.load) >= u64::from(self.load.threads) {
            return Ok(());
        }
        Err(bad_request(format!(
            "{} bytes hold {} blocks of {} bytes, too few for {} threads",
            self.load.extent.length,
            share::blocks(self.load),
            self.load.block_size,
            self.load.threads
        )))
    }

    /// Refuses a load that needs more than half of the available memory: without memory the kernel kills
    /// its init.
    fn check_memory(&self, free: u64) -> Result<(), Failure> {
        let needed = u64::from(self.load.threads)
            * u64::from(self.load.depth)
            * u64::from(self.load.block_size);
        if needed <= free / 2 {
            return Ok(());
        }
        Err(bad_request(format!(
            "{} threads with {} operations of {} bytes need {needed} bytes of memory; the limit is \
             {}, half of the guest's available memory",
            self.load.threads,
            self.load.depth,
            self.load.block_size,
            free / 2
        )))
    }
}

/// Returns the bytes that can be allocated without swapping, as the kernel estimates.
pub(crate) fn memory() -> Result<u64, Failure> {
    const FILE: &str = "/proc/meminfo";
    let text = fs::read_to_string(FILE).or_failure(|| format!("read {FILE}"))?;
    available(&text).ok_or_else(|| bad_request(format!("{FILE} has no MemAvailable")))
}

fn available(meminfo: &str) -> Option<u64> {
    let value = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn within(what: &str, value: u64, unit: &str, allowed: RangeInclusive<u64>) -> Result<(), Failure> {
    if allowed.contains(&value) {
        return Ok(());
    }
    let (least, most) = allowed.into_inner();
    Err(bad_request(format!(
        "{what} {value}{unit} is not within {least} to {most}"
    )))
}

fn check_block(size: u32) -> Result<(), Failure> {
    if size > 0 && size <= LARGEST_BLOCK && size.is_multiple_of(SECTOR) {
        return Ok(());
    }
    Err(bad_request(format!(
        "block size {size} is not a multiple of {SECTOR} within {SECTOR} to {LARGEST_BLOCK}"
    )))
}

fn check_cpus(cpus: &[u32], online: &[u32]) -> Result<(), Failure> {
    match cpus.iter().find(|cpu| !online.contains(cpu)) {
        None => Ok(()),
        Some(cpu) => Err(bad_request(format!(
            "cpu {cpu} is not online; the guest's CPUs are {online:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use guest_agent::protocol::{Direction, Extent, FailureKind, Serial};

    use super::*;

    const PLENTY: u64 = 1 << 30;

    fn load() -> Load {
        Load {
            extent: Extent {
                serial: Serial("d".into()),
                seed: 0,
                offset: 4096,
                length: 40960,
            },
            direction: Direction::Read,
            threads: 3,
            cpus: vec![1, 0],
            depth: 2,
            block_size: 4096,
            duration_ms: 100,
            operations: None,
        }
    }

    fn disk(size: u64) -> Disk {
        Disk {
            serial: Serial("d".into()),
            name: "vda".into(),
            size,
        }
    }

    #[test]
    fn an_invalid_load_is_refused_with_its_number() {
        type Spoil = fn(&mut Load);
        let cases: [(Spoil, &str); 12] = [
            (|load| load.threads = 0, "threads 0"),
            (|load| load.threads = 65, "threads 65"),
            (|load| load.depth = 0, "depth 0"),
            (|load| load.depth = 257, "depth 257"),
            (|load| load.block_size = 0, "block size 0"),
            (|load| load.block_size = 513, "block size 513"),
            (
                |load| load.block_size = (1 << 20) + 512,
                "block size 1049088",
            ),
            (|load| load.threads = 11, "too few for 11 threads"),
            (|load| load.cpus = vec![0, 2], "cpu 2"),
            (|load| load.operations = Some(0), "operations 0"),
            (
                |load| load.duration_ms = u64::MAX,
                "18446744073709551615 ms",
            ),
            (|load| load.extent.offset = 40960, "40960 bytes at 40960"),
        ];
        for (spoil, expected) in cases {
            let mut load = load();
            spoil(&mut load);
            let Err(failure) = Plan::new(&load, &disk(65536), &[0, 1], PLENTY) else {
                panic!("{expected} was accepted");
            };
            assert_eq!(failure.kind, FailureKind::BadRequest);
            assert!(failure.message.contains(expected), "{failure}");
        }
    }

    #[test]
    fn a_load_that_needs_too_much_memory_is_refused() {
        let load = load();
        let needed = 3 * 2 * 4096;
        assert!(Plan::new(&load, &disk(65536), &[0, 1], 2 * needed).is_ok());
        assert!(Plan::new(&load, &disk(65536), &[0, 1], 2 * needed - 2).is_err());
    }

    #[test]
    fn threads_are_bound_to_cpus_in_turn() {
        let mut load = load();
        let cpus = |load: &Load| {
            let plan =
                Plan::new(load, &disk(65536), &[0, 1], PLENTY).unwrap_or_else(|e| panic!("{e}"));
            [plan.cpu(0), plan.cpu(1), plan.cpu(2)]
        };
        assert_eq!(cpus(&load), [Some(1), Some(0), Some(1)]);
        load.cpus.clear();
        assert_eq!(cpus(&load), [None; 3]);
    }

    #[test]
    fn available_memory_is_read_from_meminfo() {
        let text = "MemTotal:       100 kB\nMemAvailable:      64 kB\n";
        assert_eq!(available(text), Some(65536));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }
}
