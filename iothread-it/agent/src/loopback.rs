//! The loopback interface, which a kernel creates down: until it is up, 127.0.0.1 and ::1 are unreachable.

use crate::fatal::{Fatal, OrFatal};
use crate::rtnetlink;

/// The index of the interface in every network namespace.
const LOOPBACK: u32 = 1;

/// Brings the interface up. The kernel then adds its addresses.
pub(crate) fn bring_up() -> Result<(), Fatal> {
    rtnetlink::set_up(LOOPBACK).or_fatal(|| "bring up the loopback interface".into())
}
