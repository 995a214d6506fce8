//! The start time of a process.

use std::fs;

/// The start time of a process, in clock ticks since boot. With the pid it identifies the process.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the command in parentheses, can hold anything; the rest are words. The
    // start time is the 22nd field, and the third is the first one behind the parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_start_time() {
        let me = i32::try_from(std::process::id()).expect("a pid");
        assert!(start_time(me) >= start_time(1));
        assert!(start_time(me).is_some());
    }
}
