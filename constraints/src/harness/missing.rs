//! What tests needed and missed, counted.

use crate::names::{Names, place};
use crate::verdict::Reason;

/// For each unmet constraint, how many tests miss it.
#[derive(Debug, Default)]
pub struct Missing(Vec<(String, usize)>);

impl Missing {
    /// Starts with none.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Counts the unmet constraints of a test, each once.
    pub fn count(&mut self, reasons: &[Reason]) {
        let mut constraints = Names::new();
        for reason in reasons.iter().filter(|reason| reason.is_a_need()) {
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

    /// One line, most missed first; nothing if nothing is missing.
    pub fn line(&self) -> Option<String> {
        let mut counted: Vec<&(String, usize)> = Vec::new();
        for one in &self.0 {
            let at = counted.partition_point(|other| other.1 >= one.1);
            counted.insert(at, one);
        }
        let list: Vec<_> = counted
            .iter()
            .map(|(name, count)| format!("{name} ×{count}"))
            .collect();
        (!list.is_empty()).then(|| list.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Evidence;

    fn lacks(constraint: &str) -> Reason {
        Reason::new(constraint.to_owned(), &Evidence::new("absent", "nowhere"))
    }

    #[test]
    fn the_most_missed_comes_first_and_a_test_counts_once() {
        let mut missing = Missing::new();
        assert_eq!(missing.line(), None);
        missing.count(&[lacks("root"), lacks("kvm"), lacks("root")]);
        missing.count(&[lacks("kvm"), lacks("arch aarch64")]);
        let line = "kvm ×2, arch aarch64 ×1, root ×1";
        assert_eq!(missing.line().as_deref(), Some(line));
    }
}
