//! An event of QEMU's.

use serde_json::Value;

/// An event of QEMU's.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name, such as `DEVICE_DELETED`.
    pub name: String,
    /// Its data, `null` if it has none.
    pub data: Value,
    /// When QEMU sent it, in microseconds since the epoch by the host's clock.
    pub timestamp_us: Option<i64>,
    /// When the client read it, by the same clock. The codec leaves it `None`.
    pub received_us: Option<i64>,
}

impl Event {
    /// Returns a member of the data, if it is a string.
    pub fn str(&self, member: &str) -> Option<&str> {
        self.data.get(member)?.as_str()
    }
}
