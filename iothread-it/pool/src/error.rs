//! Errors of the pool.

use super::text::queues_text;
use super::{DeviceId, IoThreadId, PciSlot};

/// A request that the pool refused. The pool is unchanged.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolError {
    /// The pool has no thread with this id.
    #[error("the pool has no IOThread `{wanted}`; it has {have}")]
    NoSuchThread {
        /// The requested thread.
        wanted: IoThreadId,
        /// The ids of the pool's threads, as text.
        have: String,
    },
    /// The pool is empty.
    #[error(
        "the pool has no IOThreads; set `enable_iothreads = true` and `indep_iothreads` to their number"
    )]
    NoThreads,
    /// `dedicated` placement needs an idle thread, and each thread is in use or dedicated.
    #[error(
        "no idle IOThread for `dedicated` placement ({total} in use or dedicated); add threads, or use another placement"
    )]
    NoIdleThread {
        /// The number of threads.
        total: usize,
    },
    /// Fewer shareable threads than requested.
    #[error(
        "cannot spread a device over {wanted} IOThreads: only {have} are not dedicated; request fewer threads, or add threads"
    )]
    TooFewThreads {
        /// The requested number of threads.
        wanted: usize,
        /// The number of threads that are not dedicated to a device.
        have: usize,
    },
    /// The thread is dedicated to another device.
    #[error("IOThread `{thread}` is dedicated to `{device}`; use another thread")]
    Dedicated {
        /// The thread.
        thread: IoThreadId,
        /// The device that it is dedicated to.
        device: DeviceId,
    },
    /// The thread serves devices. (QEMU does not refuse `object-del` of every busy thread.)
    #[error("IOThread `{thread}` still serves {devices}; detach first")]
    InUse {
        /// The thread.
        thread: IoThreadId,
        /// Its devices, as text.
        devices: String,
    },
    /// The policy found no thread for the device.
    #[error("no IOThread for `{device}`: {why}")]
    Policy {
        /// The device.
        device: DeviceId,
        /// The policy's reason.
        why: String,
    },
    /// A policy dedicated a thread that serves devices.
    #[error("IOThread `{thread}` cannot be dedicated to a device: it serves {devices}")]
    NotIdle {
        /// The thread.
        thread: IoThreadId,
        /// Its devices, as text.
        devices: String,
    },
    /// Every slot is in use.
    #[error("all {total} hotplug slots are in use; detach a device first")]
    NoFreeSlot {
        /// The number of slots.
        total: usize,
    },
    /// The list of slots for a new pool has a duplicate.
    #[error("duplicate slot {slot}")]
    DuplicateSlot {
        /// The slot.
        slot: PciSlot,
    },
    /// The pool has no such slot.
    #[error("the pool has no slot {slot}")]
    NoSuchSlot {
        /// The requested slot.
        slot: PciSlot,
    },
    /// The slot is not free.
    #[error("slot {slot} is {by}")]
    SlotInUse {
        /// The requested slot.
        slot: PciSlot,
        /// What has it, as text.
        by: String,
    },
    /// The slot is not reserved.
    #[error("slot {slot} is not reserved")]
    NotReserved {
        /// The slot.
        slot: PciSlot,
    },
    /// The id is not that of a SCSI controller that holds a lease.
    #[error("there is no SCSI controller `{wanted}`")]
    NoSuchController {
        /// The requested controller.
        wanted: DeviceId,
    },
    /// Every target of a controller is in use.
    #[error("SCSI controller `{controller}` has no free target ({total} disks attached)")]
    NoFreeTarget {
        /// The controller.
        controller: DeviceId,
        /// The number of its disks.
        total: usize,
    },
    /// A spread over more threads than the device has queues.
    #[error(
        "cannot spread a device with {} over {wanted} IOThreads: each needs at least one queue; \
         request fewer threads or more queues",
        queues_text(usize::from(*queues))
    )]
    TooFewQueues {
        /// The requested number of threads.
        wanted: usize,
        /// The device's number of queues.
        queues: u16,
    },
    /// The list of threads for a new pool has a duplicate.
    #[error("duplicate IOThread `{thread}`: ids must be unique within a VM")]
    DuplicateThread {
        /// The thread.
        thread: IoThreadId,
    },
    /// Several threads for a device that can use only one.
    #[error("`{id}` can use only one IOThread (no virtqueues to map)")]
    OneThread {
        /// The device.
        id: DeviceId,
    },
    /// The device holds a lease.
    #[error("device `{device}` is already attached")]
    AlreadyLeased {
        /// The device.
        device: DeviceId,
    },
    /// The device holds no lease.
    #[error("device `{device}` has no lease")]
    NotLeased {
        /// The device.
        device: DeviceId,
    },
    /// The controller's disks hold leases, which must be released first.
    #[error("SCSI controller `{controller}` still has disks ({disks}); release them first")]
    HasDisks {
        /// The controller.
        controller: DeviceId,
        /// Its disks, as text.
        disks: String,
    },
    /// A number of queues that QEMU rejects.
    #[error("num-queues is {queues}; it must be between 1 and {limit}")]
    Queues {
        /// The requested number of queues.
        queues: u16,
        /// QEMU's limit for this device.
        limit: u16,
    },
    /// An invalid mapping of queues to threads.
    #[error(transparent)]
    Mapping(#[from] VqMappingError),
}

/// A mapping of queues to threads that QEMU rejects or interprets differently. Messages are QEMU's
/// own where it has one.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum VqMappingError {
    /// The mapping is empty.
    #[error("an iothread-vq-mapping must name at least one IOThread")]
    Empty,
    /// The mapping has two entries for one thread.
    #[error("duplicate IOThread name \"{thread}\" in iothread-vq-mapping")]
    DuplicateThread {
        /// The thread.
        thread: IoThreadId,
    },
    /// A thread's list of queues is empty.
    #[error(
        "vqs of IOThread \"{thread}\" is empty in iothread-vq-mapping, which QEMU treats as absent; \
         name at least one queue"
    )]
    NoQueues {
        /// The thread.
        thread: IoThreadId,
    },
    /// A round-robin mapping with more threads than queues.
    #[error(
        "iothread-vq-mapping names {threads} IOThreads for {}; name at most one per queue",
        queues_text(usize::from(*queues))
    )]
    TooFewQueues {
        /// The number of threads.
        threads: usize,
        /// The device's number of queues.
        queues: u16,
    },
    /// A queue index beyond the device's queues.
    #[error(
        "vq index {queue} for IOThread \"{thread}\" must be less than num_queues {queues} in \
         iothread-vq-mapping"
    )]
    QueueOutOfRange {
        /// The queue.
        queue: u16,
        /// Its thread.
        thread: IoThreadId,
        /// The device's number of queues.
        queues: u16,
    },
    /// Two threads for one queue.
    #[error("cannot assign vq {queue} to IOThread \"{thread}\" because it is already assigned")]
    QueueTwice {
        /// The queue.
        queue: u16,
        /// The second thread.
        thread: IoThreadId,
    },
    /// A queue without a thread.
    #[error("missing vq {queue} IOThread assignment in iothread-vq-mapping")]
    QueueMissing {
        /// The queue.
        queue: u16,
    },
}
