//! The pool's allocations as QMP arguments.

use iothread_pool::{Assignment, IoThreadId, PciSlot, VqMapping};
use qmp_client::codec::read_return;
use qmp_client::command::{DeviceOptions, IoThreadVirtQueueMapping, PciAddress, ServedBy};
use qmp_client::{Command, QmpError, Request};
use serde::Serialize;
use serde_json::Value;

/// Writes a slot.
pub(crate) fn address(slot: &PciSlot) -> PciAddress<'_> {
    PciAddress {
        bus: slot.bus(),
        addr: slot.addr(),
    }
}

/// Writes what serves a device.
pub(crate) fn served_by(assignment: &Assignment) -> ServedBy<'_> {
    ServedBy {
        iothread: assignment.thread().map(IoThreadId::as_str),
        iothread_vq_mapping: match assignment {
            Assignment::Mapped(mapping) => vq_mapping(mapping),
            Assignment::MainLoop | Assignment::Thread(_) => Vec::new(),
        },
    }
}

/// Writes a mapping.
pub(crate) fn vq_mapping(mapping: &VqMapping) -> Vec<IoThreadVirtQueueMapping> {
    mapping
        .entries()
        .map(|(thread, queues)| IoThreadVirtQueueMapping {
            iothread: thread.to_string(),
            vqs: queues.map(<[u16]>::to_vec),
        })
        .collect()
}

/// Writes a command.
pub(crate) fn request<C: Command>(command: &C) -> Request {
    Request::new(command).expect("a command is plain JSON")
}

/// Reads the reply to a command.
pub(crate) fn read_reply<C: Command>(reply: Value) -> Result<C::Return, QmpError> {
    read_return::<C>(reply).map_err(|source| QmpError::Unexpected {
        command: C::NAME,
        source,
    })
}

/// Adds the size of queues to a device's options, unless they state it.
pub(crate) fn with_queue_size(
    options: &DeviceOptions,
    key: &str,
    size: Option<u16>,
) -> DeviceOptions {
    let mut options = options.as_map().clone();
    if let Some(size) = size {
        options.entry(key).or_insert(size.into());
    }
    DeviceOptions::new(options).expect("the size of queues is not reserved")
}

/// Writes arguments.
pub(crate) fn json(arguments: &impl Serialize) -> Value {
    serde_json::to_value(arguments).expect("arguments are plain JSON")
}
