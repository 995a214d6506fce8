//! Moments for a person.

use maud::{Markup, html};

/// A moment in UTC, from seconds since 1970.
pub(super) fn of(seconds: u64) -> Markup {
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
    let date = format!("{year:04}-{month:02}-{day:02}");
    html! {
        time datetime={ (date) "T" (format!("{hour:02}:{minute:02}")) "Z" } {
            (date) " " (format!("{hour:02}:{minute:02}")) " UTC"
        }
    }
}

/// Year, month and day of the day that is so many after the first of 1970.
fn date(mut days: u64) -> (u64, usize, u64) {
    let is_leap = |year: u64| {
        (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
    };
    // No record is from a time so far that counting its years would take long.
    let mut year = 1970;
    while year < 9999 && days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    for (index, length) in lengths.into_iter().enumerate() {
        if days < length {
            return (year, index + 1, days + 1);
        }
        days -= length;
    }
    (year, 12, 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_that_date_prints() {
        let shown = |seconds| of(seconds).into_string();
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_735_689_540, "2024-12-31 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert!(shown(seconds).contains(text), "{}", shown(seconds));
        }
        assert!(shown(u64::MAX).contains("9999-12-31"));
    }
}
