//! The guest, as seen from the host.

pub mod image;
