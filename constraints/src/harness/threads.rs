//! Threads that exist before the first fork.
//!
//! A forked child has only the thread that forked it. If another one held a lock at that moment, such
//! as an allocator's, the child deadlocks.

use std::fs;

use crate::names::in_order;

/// The variable that allows tests to be forked anyway.
pub(super) const ALLOW: &str = "KATA_TEST_ALLOW_THREADS";

/// Why this process must not fork, if it has more than one thread.
pub(super) fn problem() -> Option<String> {
    let names: Vec<String> = fs::read_dir("/proc/self/task")
        .ok()?
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .collect();
    if names.len() < 2 {
        return None;
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Some(format!(
        "this process has {} threads before its first test: {}. A test is forked, and deadlocks if \
         another thread holds a lock at that moment",
        names.len(),
        in_order(&names, |name| name).join(", ")
    ))
}

/// Whether forking anyway is allowed.
pub(super) fn are_allowed() -> bool {
    std::env::var_os(ALLOW).is_some_and(|value| value == "1")
}
