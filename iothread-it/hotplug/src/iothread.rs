//! An IOThread as QEMU makes it.

use iothread_pool::IoThreadId;
use qmp_client::command::IoThreadObject;
pub use qmp_client::command::IoThreadProperties as Polling;

/// The object that makes a thread with these properties: for `-object` and for `object-add`.
pub fn object(id: &IoThreadId, properties: Polling) -> IoThreadObject<'_> {
    IoThreadObject::new(id.as_str(), properties)
}
