//! Work on a thread of its own, waited for no longer than a limit.
//!
//! Not by a channel: std's would be several per cent of what a user of kata-test compiles.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What a thread has come to.
struct Outcome<T> {
    ended: bool,
    result: Option<T>,
}

type Shared<T> = (Mutex<Outcome<T>>, Condvar);

/// Tells of the end of a thread, however it comes.
struct Ends<T>(Arc<Shared<T>>);

impl<T> Drop for Ends<T> {
    fn drop(&mut self) {
        let (outcome, told) = &*self.0;
        outcome.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        told.notify_one();
    }
}

/// Returns what `work` returns; nothing if it panicked, or had not ended by then: a thread cannot be
/// killed, so that it then goes on.
pub fn in_thread_within<T: Send + 'static>(
    name: &str,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let outcome = Outcome {
        ended: false,
        result: None,
    };
    let shared = Arc::new((Mutex::new(outcome), Condvar::new()));
    let ends = Ends(Arc::clone(&shared));
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let result = work();
            ends.0
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .result = Some(result);
        })?;
    let (outcome, told) = &*shared;
    let outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = told.wait_timeout_while(outcome, limit, |outcome| !outcome.ended);
    let (mut outcome, _) = waited.unwrap_or_else(PoisonError::into_inner);
    Ok(outcome.result.take())
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
