//! Sizes in bytes, as in `10G`.

/// The units, in powers of 1000 as disks are sold.
const UNITS: [(char, u64); 4] = [
    ('k', 1_000),
    ('M', 1_000_000),
    ('G', 1_000_000_000),
    ('T', 1_000_000_000_000),
];

/// A text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a size; expected a number of bytes, or of kB, MB, GB or TB as in `500M` or `10G`"
)]
pub struct InvalidSize {
    text: String,
}

/// Parses a size: a number of bytes, with an optional unit `k`, `M`, `G` or `T` and an optional `B`.
///
/// # Errors
/// If the text is not a size.
pub fn parse_size(text: &str) -> Result<u64, InvalidSize> {
    let invalid = || InvalidSize { text: text.into() };
    let short = text.strip_suffix('B').unwrap_or(text);
    let unit = UNITS
        .iter()
        .find_map(|(unit, bytes)| Some((short.strip_suffix(*unit)?, *bytes)));
    let (number, unit) = unit.unwrap_or((short, 1));
    let number: u64 = number.trim_end().parse().map_err(|_| invalid())?;
    number.checked_mul(unit).ok_or_else(invalid)
}

/// Formats a size with three digits or more: `1.2 GB`, `812 MB`.
#[must_use]
pub fn shown_size(bytes: u64) -> String {
    match UNITS.iter().rev().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) if bytes / unit < 10 => {
            format!("{}.{} {name}B", bytes / unit, bytes / (unit / 10) % 10)
        }
        Some((name, unit)) => format!("{} {name}B", bytes / unit),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_parsed_and_shown() {
        for (text, bytes, shown) in [
            ("0", 0, "0 B"),
            ("999", 999, "999 B"),
            ("1k", 1_000, "1.0 kB"),
            ("500M", 500_000_000, "500 MB"),
            ("1250 MB", 1_250_000_000, "1.2 GB"),
            ("10GB", 10_000_000_000, "10 GB"),
        ] {
            assert_eq!(parse_size(text), Ok(bytes));
            assert_eq!(shown_size(bytes), shown);
        }
        for text in ["", "G", "-1", "1.5G", "10 G i B", "99999999T", "10X"] {
            let error = parse_size(text).unwrap_err().to_string();
            assert!(error.contains("`10G`"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_shown_size_is_not_larger_than_the_size(bytes: u64) {
            let shown = shown_size(bytes);
            let number: f64 = shown.split(' ').next().unwrap().parse().unwrap();
            prop_assert!(number >= 0.0);
        }
    }
}
