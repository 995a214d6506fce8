//! Metadata of a test that is checked at compile time.

use std::time::Duration;

/// Parses a `timeout`: a whole number and a unit, `ms`, `s`, `m` or `h`.
#[track_caller]
#[must_use]
pub const fn timeout(text: &str) -> Duration {
    match parse_duration(text) {
        Some(duration) => duration,
        None => panic!(
            "a timeout is a whole number above 0 and a unit, such as \"500ms\", \"30s\", \"5m\" or \"1h\""
        ),
    }
}

/// Checks the name of a `serial` group, which becomes the name of a file.
#[track_caller]
#[must_use]
pub const fn serial(group: &str) -> &str {
    let bytes = group.as_bytes();
    let mut index = 0;
    let mut good = !bytes.is_empty() && bytes.len() <= 100;
    while index < bytes.len() {
        good &= bytes[index].is_ascii_alphanumeric() || matches!(bytes[index], b'-' | b'_');
        index += 1;
    }
    assert!(
        good,
        "a serial group is named by 1 to 100 letters, digits, `-` and `_`"
    );
    group
}

/// Parses a duration in the form of a timeout; `None` if it has another form, is 0, or too long.
#[must_use]
pub const fn parse_duration(text: &str) -> Option<Duration> {
    let bytes = text.as_bytes();
    let mut number: u64 = 0;
    let mut index = 0;
    while index < bytes.len() && bytes[index].is_ascii_digit() {
        let Some(shifted) = number.checked_mul(10) else {
            return None;
        };
        let Some(sum) = shifted.checked_add((bytes[index] - b'0') as u64) else {
            return None;
        };
        number = sum;
        index += 1;
    }
    let (_, unit) = bytes.split_at(index);
    let millis: u64 = match unit {
        b"ms" => 1,
        b"s" => 1000,
        b"m" => 60 * 1000,
        b"h" => 60 * 60 * 1000,
        _ => return None,
    };
    match number.checked_mul(millis) {
        // A year is longer than any test; more would only overflow a clock.
        Some(millis @ 1..=31_536_000_000) => Some(Duration::from_millis(millis)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    //! Scope: the form of durations. What a bad one looks like to a user is covered by the UI tests.

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "s",
            "30",
            "0s",
            "-1s",
            "1.5s",
            "30 s",
            "1d",
            "99999999999999999999s",
            "9999999h",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer(text in any::<String>()) {
            let _ = parse_duration(&text);
        }
    }
}
