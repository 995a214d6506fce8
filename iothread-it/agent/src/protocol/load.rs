//! I/O that the agent does on disks, and what came of it.

use serde::{Deserialize, Serialize};

use super::Extent;

/// An I/O load. It ends at the first of its limits; a thread also ends at its first error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// The range that is read, or that the pattern is written to.
    pub extent: Extent,
    /// Read or write.
    pub direction: Direction,
    /// The number of threads.
    pub threads: u32,
    /// The guest CPUs to run on: thread *n* is pinned to entry *n* modulo their number. If empty, no
    /// thread is pinned.
    pub cpus: Vec<u32>,
    /// The queue depth of each thread.
    pub depth: u32,
    /// The bytes of an operation, a multiple of 512.
    pub block_size: u32,
    /// The time after which the load ends, in milliseconds.
    pub duration_ms: u64,
    /// The operations after which each thread ends.
    pub operations: Option<u64>,
}

/// The direction of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the disk.
    Read,
    /// To the disk.
    Write,
}

/// How many operations of each kind the guest's kernel was asked for. One can be several requests of the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestCounts {
    /// Writes that are not aligned to a page, of an odd number of sectors.
    pub unaligned_writes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Discards, each of a quarter of the extent.
    pub discards: u64,
    /// Writes of zeroes, each of a quarter of the extent.
    pub zero_writes: u64,
}

/// The result of a load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadReport {
    /// Operations that completed in full.
    pub operations: u64,
    /// Bytes that they moved.
    pub bytes: u64,
    /// Operations that failed or came back short.
    pub errors: u64,
    /// The message of the first error.
    pub first_error: Option<String>,
    /// The time from the start of the first failed operation to the end of the load, in milliseconds
    /// of the guest's CLOCK_MONOTONIC, rounded down.
    pub failed_for_ms: Option<u64>,
    /// The latencies of the operations that completed in full.
    pub latencies: Latencies,
    /// The duration of the load, in milliseconds of the guest's CLOCK_MONOTONIC.
    pub elapsed_ms: u64,
}

/// Latencies of operations, in microseconds of the guest's CLOCK_MONOTONIC. The percentiles are
/// rounded up by at most a sixteenth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latencies {
    /// The median.
    pub p50_us: u64,
    /// The 99th percentile.
    pub p99_us: u64,
    /// The maximum.
    pub longest_us: u64,
}
