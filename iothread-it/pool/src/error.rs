//! Why the pool gives nothing, or does not let go.

use super::threads::queues_text;
use super::{DeviceId, IoThreadId};

/// What the pool refuses.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum PoolError {
    /// There is no such thread.
    #[error("the pool has no IOThread `{wanted}`; it has {have}")]
    NoSuchThread {
        /// The thread that was asked for.
        wanted: IoThreadId,
        /// Those that there are, for a person.
        have: String,
    },
    /// No thread at all.
    #[error(
        "the pool has no IOThreads; set `enable_iothreads = true` and `indep_iothreads` to their number"
    )]
    NoThreads,
    /// Each thread serves somebody or is dedicated, and an idle one is asked for.
    #[error("none of the {total} IOThreads is free for a device of its own")]
    NoIdleThread {
        /// How many there are.
        total: usize,
    },
    /// Fewer threads than a disk is to be spread over.
    #[error("a disk cannot be spread over {wanted} IOThreads: {have} can be shared")]
    TooFewThreads {
        /// How many were asked for.
        wanted: usize,
        /// How many there are that are not dedicated to a device.
        have: usize,
    },
    /// The thread is there for one device alone.
    #[error("IOThread `{thread}` is dedicated to `{device}`")]
    Dedicated {
        /// The thread.
        thread: IoThreadId,
        /// Whose it is.
        device: DeviceId,
    },
    /// The thread serves devices, and QEMU would delete it all the same.
    #[error("IOThread `{thread}` still serves {devices}; detach first")]
    InUse {
        /// The thread.
        thread: IoThreadId,
        /// Its devices, for a person.
        devices: String,
    },
    /// Every slot is taken.
    #[error("all {total} hotplug slots are taken")]
    NoFreeSlot {
        /// How many there are.
        total: usize,
    },
    /// A disk is to go to a controller that is none, or is not there.
    #[error("there is no SCSI controller `{wanted}`")]
    NoSuchController {
        /// The controller that was asked for.
        wanted: DeviceId,
    },
    /// A controller has as many disks as it can.
    #[error("SCSI controller `{controller}` has {total} disks, which is all it can have")]
    NoFreeTarget {
        /// The controller.
        controller: DeviceId,
        /// How many disks it has.
        total: usize,
    },
    /// Fewer queues than threads that a device is to be spread over.
    #[error(
        "a device with {} cannot be spread over {wanted} IOThreads: at most one per queue would \
         work; ask for fewer threads or more queues",
        queues_text(usize::from(*queues))
    )]
    TooFewQueues {
        /// How many threads were asked for.
        wanted: usize,
        /// How many queues the device has.
        queues: u16,
    },
    /// A thread is named twice where a pool is made.
    #[error("IOThread `{thread}` is listed twice; each id of a VM names one thread")]
    DuplicateThread {
        /// The thread.
        thread: IoThreadId,
    },
    /// Several threads were asked for, where one at the most serves.
    #[error("one IOThread at the most serves `{id}`: it has no queues to spread")]
    OneThread {
        /// What was to be served.
        id: DeviceId,
    },
    /// The device has a lease already.
    #[error("device `{device}` is attached already")]
    AlreadyLeased {
        /// The device.
        device: DeviceId,
    },
    /// The device has no lease.
    #[error("device `{device}` has no lease")]
    NotLeased {
        /// The device.
        device: DeviceId,
    },
    /// A controller's lease is to be released before those of its disks.
    #[error("SCSI controller `{controller}` still has {disks}; release them first")]
    HasDisks {
        /// The controller.
        controller: DeviceId,
        /// Its disks, for a person.
        disks: String,
    },
    /// Too many queues for a device, or none.
    #[error("num-queues is {queues}; it must be larger than 0, and at most {limit}")]
    Queues {
        /// How many were asked for.
        queues: u16,
        /// How many QEMU can make.
        limit: u16,
    },
    /// A mapping that breaks one of QEMU's rules.
    #[error(transparent)]
    Mapping(#[from] VqMappingError),
}

/// A mapping of queues to threads that QEMU would refuse, in QEMU's words, or take for another.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum VqMappingError {
    /// Nothing is mapped.
    #[error("an iothread-vq-mapping names at least one IOThread")]
    Empty,
    /// A thread is named twice.
    #[error("duplicate IOThread name \"{thread}\" in iothread-vq-mapping")]
    DuplicateThread {
        /// The thread.
        thread: IoThreadId,
    },
    /// A thread has an empty list of queues.
    #[error(
        "vqs of IOThread \"{thread}\" is empty in iothread-vq-mapping, which QEMU takes as not \
         given; name at least one queue"
    )]
    NoQueues {
        /// The thread.
        thread: IoThreadId,
    },
    /// More threads than queues to distribute round-robin, so some would have none.
    #[error(
        "iothread-vq-mapping names {threads} IOThreads for {}; name at most one per queue",
        queues_text(usize::from(*queues))
    )]
    TooFewQueues {
        /// How many threads are named.
        threads: usize,
        /// How many queues there are.
        queues: u16,
    },
    /// A queue that the device does not have.
    #[error(
        "vq index {queue} for IOThread \"{thread}\" must be less than num_queues {queues} in \
         iothread-vq-mapping"
    )]
    QueueOutOfRange {
        /// The queue.
        queue: u16,
        /// The thread that it is mapped to.
        thread: IoThreadId,
        /// How many queues there are.
        queues: u16,
    },
    /// A queue is mapped twice.
    #[error("cannot assign vq {queue} to IOThread \"{thread}\" because it is already assigned")]
    QueueTwice {
        /// The queue.
        queue: u16,
        /// The second thread.
        thread: IoThreadId,
    },
    /// A queue is not mapped.
    #[error("missing vq {queue} IOThread assignment in iothread-vq-mapping")]
    QueueMissing {
        /// The queue.
        queue: u16,
    },
}
