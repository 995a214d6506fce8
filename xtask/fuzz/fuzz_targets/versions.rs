//! Comparing versions. The input has the required version in its first line, the host's in its second.

#![no_main]

use std::cmp::Ordering;

use kata_test_host::fuzzing::{compare_kernels, compare_numbers};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (required, running) = text.split_once('\n').unwrap_or((text, ""));
    if let Some(order) = compare_kernels(required, running)
        && let (Some(required), Some(running)) = (plain(required, 3), plain(running, 3))
        && running.len() >= 2
    {
        assert_eq!(order, Some(as_stated(&required, &running)), "{text:?}");
    }
    for filled in [false, true] {
        let Some(order) = compare_numbers(required, running, filled) else {
            continue;
        };
        let required = plain(required, 4).expect("a version of numbers");
        if let Some(running) = plain(running, usize::MAX) {
            let expected = as_stated(&required, &running);
            match order {
                Some(order) => assert_eq!(order, expected, "{text:?}"),
                None => assert!(!filled && running.len() < required.len(), "{text:?}"),
            }
        }
    }
    // A version equals itself, as far as it is comparable at all.
    if let Some(Some(order)) = compare_kernels(required, required) {
        assert_eq!(order, Ordering::Equal, "{required:?}");
    }
});

/// Returns the numbers of a version that has nothing else, and at most so many.
fn plain(version: &str, most: usize) -> Option<Vec<u64>> {
    let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = version.split('.').collect();
    if parts.len() > most || !parts.iter().all(|part| is_plain(part)) {
        return None;
    }
    parts.iter().map(|part| part.parse().ok()).collect()
}

/// Compares as many numbers as are required. Those that are missing are 0.
fn as_stated(required: &[u64], running: &[u64]) -> Ordering {
    let number = |at: usize| running.get(at).copied().unwrap_or(0);
    let orders = required
        .iter()
        .enumerate()
        .map(|(at, required)| number(at).cmp(required));
    orders.fold(Ordering::Equal, Ordering::then)
}
