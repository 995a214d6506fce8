//! The CPU time of a thread, which shows what it does: QEMU's properties show only the configuration.

/// Returns the CPU time of a thread, in clock ticks (`sysconf(_SC_CLK_TCK)`, a hundredth of a second on
/// Linux), from the text of `/proc/PID/task/TID/stat`. TID is the `thread-id` of `query-iothreads`.
/// Returns `None` if the text has another form.
///
/// ```
/// let stat = "7 (IO indep) S 1 7 7 0 -1 4194560 1 2 3 4 50 60 7 8 20 0 1 0 4242 9";
/// assert_eq!(iothread_pool::cpu_ticks(stat), Some(110));
/// ```
pub fn cpu_ticks(stat: &str) -> Option<u64> {
    // The name of the thread may contain anything. Behind it `utime` and `stime` are fields 14 and 15.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "7 (IO (x) y) S 1 7 7 0 -1 4194560 1 2 3 4 50 60 7 8 20 0 1 0 4242 9";
        assert_eq!(cpu_ticks(stat), Some(110));
        assert_eq!(cpu_ticks("7 (x) S 1 7 7 0 -1 4194560 1 2 3 4 50"), None);
        let most = u64::MAX;
        let stat = format!("7 (x) S 1 7 7 0 -1 4194560 1 2 3 4 {most} 1");
        assert_eq!(cpu_ticks(&stat), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*\\) ([0-9]{1,22} ){0,16}") {
            let _ = cpu_ticks(&text);
        }
    }
}
