//! Figures that a running test reports about itself.
//!
//! In a forked test they go up a pipe to the harness; under libtest they are kept by the thread
//! that runs the test.

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::unistd::{Pid, getpid};

/// Named figures in the order in which they were first reported.
pub type Measures = Vec<(String, f64)>;

/// The longest name: a report has to fit into one atomic write.
const LONGEST_NAME: usize = 200;

/// Where a forked test reports to, and its process.
static REPORTS: OnceLock<(OwnedFd, Pid)> = OnceLock::new();

thread_local! {
    static HERE: RefCell<Option<Measures>> = const { RefCell::new(None) };
}

/// Reports a figure of the running test, such as `measure("attach_ms", 12.5)`; it stands in the
/// test's record. A name reported again replaces its value. Put the unit into the name.
///
/// Without `harness = false` only calls on the test's own thread count: Rust's harness does not say
/// which test another thread works for.
///
/// # Panics
///
/// If the value is not finite, or the name is empty, longer than 200 bytes, or has a line break.
#[track_caller]
pub fn measure(name: &str, value: f64) {
    assert!(
        value.is_finite(),
        "the measure {name} is not finite: {value}"
    );
    assert!(
        !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains(['\n', '\r']),
        "{name:?} cannot name a measure: it takes one line of 1 to {LONGEST_NAME} bytes"
    );
    if REPORTS.get().is_some() {
        send(&format!("measure {value} {name}"));
    } else {
        HERE.with_borrow_mut(|measures| {
            if let Some(measures) = measures {
                put(measures, name, value);
            }
        });
    }
}

/// Tells the harness what becomes of the test, if this is the process that was forked for it. What
/// that has forked itself has the pipe too, and can be about to leave the test's body.
pub(crate) fn report(line: &str) {
    if REPORTS.get().is_some_and(|(_, test)| *test == getpid()) {
        send(line);
    }
}

fn send(line: &str) {
    let Some((to, _)) = REPORTS.get() else { return };
    let line = format!("{line}\n");
    // A report is short enough for one write to be whole; a harness that is gone needs none.
    while nix::unistd::write(to.as_fd(), line.as_bytes()) == Err(Errno::EINTR) {}
}

/// Makes this process a forked test that reports there.
pub(crate) fn report_to(pipe: OwnedFd) {
    let _ = REPORTS.set((pipe, getpid()));
}

/// The descriptor that leads there.
pub(crate) fn report_fd() -> Option<RawFd> {
    REPORTS.get().map(|(pipe, _)| pipe.as_raw_fd())
}

/// Runs `work` and returns what this thread measured meanwhile.
pub(crate) fn collect<T>(work: impl FnOnce() -> T) -> (T, Measures) {
    HERE.set(Some(Measures::new()));
    let result = work();
    (result, HERE.take().unwrap_or_default())
}

/// Reads a line that [`measure`] sent.
pub(crate) fn parse(line: &str) -> Option<(&str, f64)> {
    let (value, name) = line.strip_prefix("measure ")?.split_once(' ')?;
    Some((
        name,
        value.parse().ok().filter(|value: &f64| value.is_finite())?,
    ))
}

/// Keeps the newest value of each name.
pub(crate) fn put(measures: &mut Measures, name: &str, value: f64) {
    match measures.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => measures.push((name.to_owned(), value)),
    }
}

#[cfg(test)]
mod tests {
    //! Scope: one thread's measures and the line's form. The pipe is covered by the sample binary.

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_keeps_its_newest_value() {
        let ((), measures) = collect(|| {
            measure("a_ms", 1.0);
            measure("b", 2.5);
            measure("a_ms", 3.0);
        });
        assert_eq!(measures, [("a_ms".to_owned(), 3.0), ("b".to_owned(), 2.5)]);
    }

    #[test]
    #[should_panic(expected = "not finite")]
    fn only_finite_values_count() {
        measure("a", f64::NAN);
    }

    proptest! {
        #[test]
        fn lines_survive(value in any::<f64>(), name in "[^\r\n]{1,50}") {
            let line = format!("measure {value} {name}");
            let expected = value.is_finite().then_some((name.as_str(), value));
            prop_assert_eq!(parse(&line), expected);
        }

        #[test]
        fn garbage_never_panics(line in any::<String>()) {
            let _ = parse(&line);
        }
    }
}
