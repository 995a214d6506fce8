//! Runs a function on a thread of its own under a deadline.

use std::io;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Returns the result of `work`, or `None` if it panicked or did not return in time. The thread then
/// continues, since a thread cannot be killed.
///
/// # Errors
///
/// If no thread can be started.
pub fn in_thread_within<T: Send + 'static>(
    name: &str,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let (sender, receiver) = channel();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || drop(sender.send(work())))?;
    Ok(receiver.recv_timeout(limit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMPLE: Duration = Duration::from_secs(60);

    #[test]
    fn a_result_is_returned_and_a_panic_is_none() {
        assert_eq!(
            in_thread_within("a", AMPLE, || 3).expect("a thread"),
            Some(3)
        );
        let start = std::time::Instant::now();
        let panics = || -> u32 { std::panic::resume_unwind(Box::new("on purpose")) };
        assert_eq!(
            in_thread_within("a", AMPLE, panics).expect("a thread"),
            None
        );
        assert!(start.elapsed() < AMPLE);
    }

    #[test]
    fn a_thread_that_does_not_end_is_abandoned() {
        let forever = || {
            loop {
                thread::park();
            }
        };
        let limit = Duration::from_millis(20);
        let left: Option<()> = in_thread_within("a", limit, forever).expect("a thread");
        assert_eq!(left, None);
    }
}
