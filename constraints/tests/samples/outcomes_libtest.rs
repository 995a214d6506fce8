//! The same under Rust's own harness.

#[path = "outcomes/cases.rs"]
mod cases;
