//! The records that a test under libtest prints: one that has kata-test's attribute, or that skips by a macro of
//! katatestutils.

use std::io::BufRead as _;

use crate::{Outcome, Record};
use kata_test::__runner::PRINTED;

/// Longer lines are left out.
const LONGEST_LINE: usize = 64 << 10;
/// This many reasons are kept.
const MOST_REASONS: usize = 100;

/// What a process has printed until now.
#[derive(Debug, Default)]
pub(super) struct Printed {
    /// The line that is not complete yet.
    line: Vec<u8>,
    is_too_long: bool,
    /// The last record, with the reasons of all.
    record: Option<Record>,
}

impl Printed {
    /// Takes in output of the process of a test.
    pub(super) fn add(&mut self, bytes: &[u8], test: &str) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let before = rest;
            // The standard library's search is fast in a debug build too, and a slice is read without errors.
            let length = rest.skip_until(b'\n').unwrap_or(before.len());
            let line = &before[..length];
            let is_complete = line.ends_with(b"\n");
            self.is_too_long |= self.line.len() + line.len() > LONGEST_LINE;
            if !self.is_too_long {
                self.line.extend_from_slice(line);
            }
            if is_complete {
                if !self.is_too_long {
                    self.take_line(test);
                }
                self.line.clear();
                self.is_too_long = false;
            }
        }
    }

    fn take_line(&mut self, test: &str) {
        let Some(json) = self.line.strip_prefix(PRINTED.as_bytes()) else {
            return;
        };
        let record = serde_json::from_slice::<Record>(json).ok();
        let Some(mut record) = record.filter(|record| record.test == test) else {
            return;
        };
        if let Some(before) = self.record.take() {
            record.reasons.splice(..0, before.reasons);
            record.reasons.truncate(MOST_REASONS);
            // The whole test, after some of its iterations, or these in another thread.
            if before.outcome == Outcome::Skipped {
                record.outcome = Outcome::Skipped;
            }
        }
        self.record = Some(record);
    }

    /// Returns the record of the test, unless it has begun only.
    pub(super) fn record(self) -> Option<Record> {
        self.record.filter(|record| record.outcome != Outcome::Lost)
    }
}

#[cfg(test)]
mod tests {
    //! Scope: what output means. That the macros print it is tested with a real package.

    use super::*;

    const RECORD: &str = concat!(
        r#"{"schema":1,"run":"","binary":"p","test":"a::t","place":"here","phase":"run","attempt":1,"#,
        r#""as_uid":0,"outcome":"skipped","reasons":[{"kind":"constraint","constraint":"root","#,
        r#""observed":"effective uid is 1000","source":"geteuid"}],"issue":null,"reason":null,"#,
        r#""signal":null,"duration_ms":0,"measures":{}}"#
    );

    fn of(output: &[u8], at_once: usize) -> Option<Record> {
        let mut printed = Printed::default();
        for bytes in output.chunks(at_once) {
            printed.add(bytes, "a::t");
        }
        printed.record()
    }

    #[test]
    fn a_record_is_found_in_any_pieces() {
        let output = format!("test a::t ... \n{PRINTED}{RECORD}\nok\n");
        for at_once in [1, 7, 1 << 20] {
            let record = of(output.as_bytes(), at_once).expect("a record");
            assert_eq!(record.outcome, Outcome::Skipped);
            assert_eq!(record.reasons[0].constraint, "root");
        }
        let iteration = output.replace("skipped", "suspected_skip");
        let record = of(iteration.as_bytes(), 5).expect("a record");
        assert_eq!(record.outcome, Outcome::SuspectedSkip);
        let both = of((iteration + &output).as_bytes(), 100).expect("a record");
        assert_eq!((both.outcome, both.reasons.len()), (Outcome::Skipped, 2));
    }

    #[test]
    fn other_lines_mean_nothing() {
        let long = "x".repeat(LONGEST_LINE);
        for output in [
            format!("{PRINTED}{RECORD}"),
            format!(" {PRINTED}{RECORD}\n"),
            format!("{PRINTED}{}\n", RECORD.replace("a::t", "a::other")),
            format!("{PRINTED}{}\n", RECORD.replace("skipped", "lost")),
            format!("{PRINTED}{}\n", RECORD.replace("effective", &long)),
            format!("{PRINTED}{}\n", &RECORD[1..]),
        ] {
            assert_eq!(of(output.as_bytes(), 4096), None);
        }
        let after = format!("{long}{long}\n{PRINTED}{RECORD}\n");
        assert!(of(after.as_bytes(), 4096).is_some(), "the next line counts");
    }

    #[test]
    fn the_number_of_reasons_is_bounded() {
        let output = format!("{PRINTED}{RECORD}\n").repeat(MOST_REASONS + 5);
        let record = of(output.as_bytes(), 1 << 20).expect("a record");
        assert_eq!(record.reasons.len(), MOST_REASONS);
    }
}
