//! Evaluations by requirement: many tests of a large binary have the same.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use crate::constraint::{Constraint, Evaluation, evaluate};
use crate::facts::Host;

/// The evaluations on one host, each made once.
pub(super) struct Evaluations<'h> {
    host: &'h dyn Host,
    known: HashMap<&'static [Constraint], Rc<Evaluation>, BuildHasherDefault<Quick>>,
}

impl<'h> Evaluations<'h> {
    pub(super) fn on(host: &'h dyn Host) -> Self {
        Self {
            host,
            known: HashMap::default(),
        }
    }

    pub(super) fn of(&mut self, constraints: &'static [Constraint]) -> Rc<Evaluation> {
        let evaluate = || Rc::new(evaluate(constraints, self.host));
        Rc::clone(self.known.entry(constraints).or_insert_with(evaluate))
    }
}

/// A hash of few instructions. Tests are compiled without optimization, where the standard library's takes as
/// long as an evaluation. Only the tests' author chooses what is hashed, so no one makes it collide on purpose.
#[derive(Default)]
struct Quick(u64);

impl Quick {
    fn add(&mut self, word: u64) {
        // The multiplier of splitmix64.
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Quick {
    /// Adds the last bytes only: paths and names differ at their ends.
    fn write(&mut self, bytes: &[u8]) {
        let mut word = bytes.len() as u64;
        for byte in &bytes[bytes.len().saturating_sub(size_of::<u64>())..] {
            word = word.rotate_left(8) ^ u64::from(*byte);
        }
        self.add(word);
    }

    fn write_u8(&mut self, value: u8) {
        self.add(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.add(u64::from(value));
    }

    fn write_usize(&mut self, value: usize) {
        self.add(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.add(value.unsigned_abs() as u64);
    }

    fn finish(&self) -> u64 {
        // A hash map uses the highest and the lowest bits, and a product's lowest are its worst.
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    //! Scope: that each requirement is evaluated once, also if all hashes are equal.

    use std::borrow::Cow;
    use std::cell::Cell;

    use super::*;
    use crate::constraint::{Status, device, kernel_ge, root};
    use crate::facts::{Answer, Finding, Question};

    /// Counts the questions about the kernel, which is 6.1.
    #[derive(Default)]
    struct Counting(Cell<usize>);

    impl Host for Counting {
        fn ask(&self, question: Question) -> Cow<'_, Answer> {
            Cow::Owned(match question {
                Question::KernelRelease => {
                    self.0.set(self.0.get() + 1);
                    Answer::new(Finding::Is("6.1.0".to_owned()), "uname")
                }
                _ => Answer::new(Finding::Is("1000".to_owned()), "geteuid"),
            })
        }
    }

    #[test]
    fn equal_requirements_are_evaluated_once() {
        let host = Counting::default();
        let mut evaluations = Evaluations::on(&host);
        let first = evaluations.of(const { &[kernel_ge("6.0")] });
        for _ in 0..2 {
            let again = evaluations.of(const { &[kernel_ge("6.0")] });
            assert!(Rc::ptr_eq(&first, &again));
        }
        assert_eq!((first.status, host.0.get()), (Status::Met, 1));
        let other = evaluations.of(const { &[kernel_ge("6.2")] });
        assert_eq!((other.status, other.reasons.len()), (Status::Unmet, 1));
        let both = evaluations.of(const { &[kernel_ge("6.2"), root()] });
        assert_eq!((both.status, both.reasons.len()), (Status::Unmet, 2));
    }

    #[test]
    fn requirements_with_equal_hashes_are_different_entries() {
        let host = Counting::default();
        let mut evaluations = Evaluations::on(&host);
        let one = evaluations.of(const { &[device("/dev/a/12345678")] });
        let other = evaluations.of(const { &[device("/dev/b/12345678")] });
        // The last eight bytes and the lengths are equal.
        let hash = |path: &str| {
            let mut hasher = Quick::default();
            hasher.write(path.as_bytes());
            hasher.finish()
        };
        assert_eq!(hash("/dev/a/12345678"), hash("/dev/b/12345678"));
        assert!(!Rc::ptr_eq(&one, &other));
    }
}
