//! Runs a function on a thread of its own under a deadline.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
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
    let result = Arc::new(Mutex::new(None));
    let to = Arc::clone(&result);
    let run = move || {
        let value = work();
        *to.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    };
    run_within(name, limit, Box::new(run))?;
    let mut result = result.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(result.take())
}

/// Whether a thread has ended. The standard library's channel would be compiled for each type of result, and is
/// several times as much code as all of this.
struct Ended(Arc<(Mutex<bool>, Condvar)>);

impl Drop for Ended {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_one();
    }
}

/// Runs a function in a thread, and waits until it ends, also by a panic, or until the limit.
fn run_within(name: &str, limit: Duration, run: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let ended = Arc::new((Mutex::new(false), Condvar::new()));
    let end = Ended(Arc::clone(&ended));
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(move || {
        let _end = end;
        run();
    })?;
    let (has_ended, changed) = &*ended;
    let has_ended = has_ended.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = changed.wait_timeout_while(has_ended, limit, |has_ended| !*has_ended);
    Ok(())
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
