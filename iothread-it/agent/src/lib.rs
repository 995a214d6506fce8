//! The protocol between host and guest agent, and the pattern that verifies data.
//!
//! The binary of this package is the guest's init process. It is built as a static program, packed into
//! the boot image, and serves requests on a virtio-serial port.

pub mod pattern;
pub mod protocol;
pub mod speed;

/// The folder with the sources of this package, as of compilation. The guest agent is built from them
/// as a static program with a profile of its own.
pub const SOURCES: &str = env!("CARGO_MANIFEST_DIR");
