//! The same under Rust's own harness.

#[path = "halfway/cases.rs"]
mod cases;
