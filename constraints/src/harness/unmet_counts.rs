//! Counts unmet constraints for the summary.

use crate::names::{Names, place};
use crate::reason::Reason;

/// The number of tests for each unmet constraint.
#[derive(Debug, Default)]
pub struct UnmetCounts(Vec<(String, usize)>);

impl UnmetCounts {
    /// No constraints.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Counts the unmet constraints of a test, each once.
    pub fn count(&mut self, reasons: &[Reason]) {
        let mut constraints = Names::new();
        for reason in reasons.iter().filter(|reason| reason.is_constraint()) {
            constraints.insert(&reason.constraint);
        }
        for constraint in constraints.all() {
            self.count_one(constraint);
        }
    }

    fn count_one(&mut self, constraint: &str) {
        match place(&self.0, constraint) {
            Ok(at) => self.0[at].1 += 1,
            Err(at) => self.0.insert(at, (constraint.to_owned(), 1)),
        }
    }

    /// The line, highest count first; `None` if there is none.
    pub fn line(&self) -> Option<String> {
        let mut counted: Vec<&(String, usize)> = Vec::new();
        for one in &self.0 {
            let at = counted.partition_point(|other| other.1 >= one.1);
            counted.insert(at, one);
        }
        let list: Vec<_> = counted
            .iter()
            .map(|(name, count)| format!("{name} ({count})"))
            .collect();
        (!list.is_empty()).then(|| list.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmet(constraint: &str) -> Reason {
        Reason::constraint(constraint, "absent", "nowhere")
    }

    #[test]
    fn the_highest_count_is_first_and_a_test_counts_once() {
        let mut counts = UnmetCounts::new();
        assert_eq!(counts.line(), None);
        counts.count(&[unmet("root"), unmet("kvm"), unmet("root")]);
        counts.count(&[unmet("kvm"), unmet("arch aarch64")]);
        let line = "kvm (2), arch aarch64 (1), root (1)";
        assert_eq!(counts.line().as_deref(), Some(line));
    }
}
