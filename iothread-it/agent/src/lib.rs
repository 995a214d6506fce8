//! What host and guest share: the protocol they speak, and the pattern that proves data.
//!
//! The binary of this package is the guest's init process. It is built statically, packed into
//! the boot image, and answers on a virtio-serial port.

pub mod pattern;
pub mod protocol;
