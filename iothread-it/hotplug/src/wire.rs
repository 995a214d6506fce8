//! The pool's allocations as QMP arguments.

use iothread_pool::{Assignment, IoThreadId, PciSlot, VqMapping};
use qmp_client::command::{IoThreadVirtQueueMapping, PciAddress, ServedBy};

/// Writes a slot.
pub(super) fn address(slot: &PciSlot) -> PciAddress<'_> {
    PciAddress {
        bus: slot.bus(),
        addr: slot.addr(),
    }
}

/// Writes what serves a device.
pub(super) fn served_by(assignment: &Assignment) -> ServedBy<'_> {
    ServedBy {
        iothread: assignment.thread().map(IoThreadId::as_str),
        iothread_vq_mapping: match assignment {
            Assignment::Mapped(mapping) => vq_mapping(mapping),
            Assignment::MainLoop | Assignment::Thread(_) => Vec::new(),
        },
    }
}

/// Writes a mapping.
pub(super) fn vq_mapping(mapping: &VqMapping) -> Vec<IoThreadVirtQueueMapping> {
    mapping
        .entries()
        .map(|(thread, queues)| IoThreadVirtQueueMapping {
            iothread: thread.to_string(),
            vqs: queues.map(<[u16]>::to_vec),
        })
        .collect()
}
