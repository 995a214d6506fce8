//! What host and guest share: the protocol they speak, and the pattern that proves data.
//!
//! The binary of this package is the guest's init process. It is built statically, packed into
//! the boot image, and answers on a virtio-serial port.

pub mod pattern;
pub mod protocol;

/// The folder with the sources of this package at the time of compilation. The agent of a guest is
/// built from them, apart from the program that depends on this library: statically, and with a
/// profile of its own.
pub const SOURCES: &str = env!("CARGO_MANIFEST_DIR");
