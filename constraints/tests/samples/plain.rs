//! The sample's tests under Rust's own harness, where skips are announced on standard error.

#[path = "sample/cases.rs"]
mod cases;
