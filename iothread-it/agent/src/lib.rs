//! The guest side: protocol and init process.

pub mod protocol;
