//! Figures that a running test reports.
//!
//! A forked test reports them to its harness; under libtest and `--in-process`, the thread that runs
//! the test keeps them.

use std::cell::RefCell;

use crate::report;
use crate::sys::Message;

/// Named figures in the order in which they were first reported.
pub type Measures = Vec<(String, f64)>;

/// The longest name, in bytes.
const LONGEST_NAME: usize = 200;

/// The kind of the message.
const KIND: &str = "measure";

thread_local! {
    static HERE: RefCell<Option<Measures>> = const { RefCell::new(None) };
}

/// Reports a figure of the running test, such as `measure("attach_ms", 12.5)`; it is
/// recorded. A name that is reported again replaces its value. Put the unit into the name.
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
    if report::is_open() {
        report::send(Message::new(KIND, &[name, &value.to_string()]));
    } else {
        HERE.with_borrow_mut(|measures| {
            if let Some(measures) = measures {
                put(measures, name, value);
            }
        });
    }
}

/// Runs `work` and returns what this thread measured meanwhile.
pub(crate) fn collect<T>(work: impl FnOnce() -> T) -> (T, Measures) {
    HERE.set(Some(Measures::new()));
    let result = work();
    (result, HERE.take().unwrap_or_default())
}

/// Reads a report of [`measure`].
pub(crate) fn parse(message: &Message) -> Option<(&str, f64)> {
    let [name, value] = &message.texts[..] else {
        return None;
    };
    let value = value.parse().ok().filter(|value: &f64| value.is_finite())?;
    (message.kind == KIND).then_some((name, value))
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
    //! Scope: one thread's measures and the message. The sample binaries cover the pipe.

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
        fn reports_are_read_back(value in any::<f64>(), name in "[^\r\n]{1,50}") {
            let message = Message::new(KIND, &[&name, &value.to_string()]);
            let expected = value.is_finite().then_some((name.as_str(), value));
            prop_assert_eq!(parse(&message), expected);
        }

        /// What a test sends is not trusted.
        #[test]
        fn any_message_is_refused_or_has_a_finite_value(
            kind in "measure|\\PC{0,9}",
            texts in prop::collection::vec("[-+]?[0-9]{0,3}(\\.[0-9]{0,3})?(e[0-9]{0,3})?|inf|NaN|\\PC{0,5}", 0..4),
        ) {
            let message = Message { kind, texts };
            if let Some((name, value)) = parse(&message) {
                prop_assert!(value.is_finite());
                prop_assert_eq!(&message.kind, KIND);
                prop_assert_eq!(&message.texts[..], &[name.to_owned(), message.texts[1].clone()]);
            }
        }
    }

    #[test]
    fn other_messages_are_no_measures() {
        for message in [
            Message::new("passed", &["a", "1"]),
            Message::new(KIND, &["a", "inf"]),
            Message::new(KIND, &["a"]),
        ] {
            assert_eq!(parse(&message), None);
        }
    }
}
