//! Which tests of a run are selected: names, filter expressions, ignored tests, a partition.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::{Filter, TestName};

/// The tests that a command line selects. The default selects every test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestSelection {
    /// Parts of test names; a test matches one of them, if there are any.
    pub names: Vec<String>,
    /// Parts of names of tests that are not selected.
    pub skip: Vec<String>,
    /// Compares `names` and `skip` with whole names.
    pub exact: bool,
    /// Filter expressions; a test matches one of them, if there are any.
    pub filters: Vec<Filter>,
    /// The default filter of the configuration; a test matches it too, if there is one.
    pub default_filter: Option<Filter>,
    /// What happens to ignored tests.
    pub ignored: RunIgnored,
    /// The part of the tests that this machine runs.
    pub partition: Option<Partition>,
}

/// Whether ignored tests run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunIgnored {
    /// They do not.
    #[default]
    No,
    /// Only they do.
    Only,
    /// They do, like all others.
    Also,
}

/// What a selection does with a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selected {
    /// It runs.
    Run,
    /// It is reported as ignored.
    Ignored,
    /// It is not part of the run.
    No,
}

impl TestSelection {
    /// Returns what happens to a test. `ignored` is whether `#[ignore]` still applies, which a requirement
    /// in the configuration may lift.
    #[must_use]
    pub fn selects(&self, test: &TestName<'_>, ignored: bool) -> Selected {
        let is_named = |name: &String| match self.exact {
            true => test.test == name,
            false => test.test.contains(name.as_str()),
        };
        let selected = (self.names.is_empty() || self.names.iter().any(is_named))
            && !self.skip.iter().any(is_named)
            && (self.filters.is_empty() || self.filters.iter().any(|f| f.matches(test)))
            && self.default_filter.as_ref().is_none_or(|f| f.matches(test))
            && self.partition.is_none_or(|part| part.contains(test));
        match (selected, self.ignored, ignored) {
            (false, ..) | (true, RunIgnored::Only, false) => Selected::No,
            (true, RunIgnored::No, true) => Selected::Ignored,
            _ => Selected::Run,
        }
    }

    /// Returns whether tests may be missing from the run because they are not selected.
    #[must_use]
    pub fn is_part(&self) -> bool {
        let ignored = self.ignored;
        *self
            != Self {
                ignored,
                exact: self.exact,
                ..Self::default()
            }
            || ignored == RunIgnored::Only
    }
}

/// The options that make it, as on a command line: `net --skip slow -E 'kind(lib)' --ignored`.
impl fmt::Display for TestSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = self.names.clone();
        options.extend(self.exact.then(|| "--exact".to_owned()));
        options.extend(self.skip.iter().map(|name| format!("--skip {name}")));
        options.extend(self.filters.iter().map(|filter| format!("-E '{filter}'")));
        options.extend(match self.ignored {
            RunIgnored::No => None,
            RunIgnored::Only => Some("--ignored".to_owned()),
            RunIgnored::Also => Some("--include-ignored".to_owned()),
        });
        options.extend(self.partition.map(|part| format!("--partition {part}")));
        f.write_str(&options.join(" "))
    }
}

/// One of several parts of all tests. Each test is in exactly one of them, on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// From 1.
    part: NonZeroU32,
    of: NonZeroU32,
}

impl Partition {
    /// Returns whether a test is in this part. That depends on its binary id and name alone.
    #[must_use]
    pub fn contains(&self, test: &TestName<'_>) -> bool {
        hash(test) % u64::from(self.of.get()) == u64::from(self.part.get() - 1)
    }
}

/// FNV-1a, with the last step of MurmurHash3: the remainder by a small number depends on every byte.
/// A hash of the standard library may change with the compiler.
fn hash(test: &TestName<'_>) -> u64 {
    let bytes = test.binary.bytes().chain([0]).chain(test.test.bytes());
    let fnv = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

/// Why a text is not a partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
    /// The parts depend on more than the test.
    #[error(
        "{0} partitions depend on the list of tests, which may differ between machines; \
         use `hash:M/N`"
    )]
    Unstable(&'static str),
    /// The number of the part is too large.
    #[error("part {part} of {of} does not exist")]
    NoSuchPart {
        /// The part, from 1.
        part: NonZeroU32,
        /// The number of parts.
        of: NonZeroU32,
    },
    /// It has another form.
    #[error("expected `hash:M/N`, such as `hash:1/3`")]
    Form,
}

impl FromStr for Partition {
    type Err = PartitionError;

    fn from_str(text: &str) -> Result<Self, PartitionError> {
        let (kind, numbers) = text.split_once(':').ok_or(PartitionError::Form)?;
        match kind {
            "hash" => {}
            "count" => return Err(PartitionError::Unstable("count")),
            "slice" => return Err(PartitionError::Unstable("slice")),
            _ => return Err(PartitionError::Form),
        }
        let (part, of) = numbers.split_once('/').ok_or(PartitionError::Form)?;
        let number = |text: &str| text.parse().map_err(|_| PartitionError::Form);
        let (part, of): (NonZeroU32, NonZeroU32) = (number(part)?, number(of)?);
        if part > of {
            return Err(PartitionError::NoSuchPart { part, of });
        }
        Ok(Self { part, of })
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hash:{}/{}", self.part, self.of)
    }
}

#[cfg(test)]
mod tests {
    //! Scope: one test at a time. That a run executes what is selected is tested with real binaries.

    use super::*;
    use proptest::prelude::*;

    fn name<'a>(binary: &'a str, test: &'a str) -> TestName<'a> {
        TestName {
            binary,
            test,
            ignored: None,
        }
    }

    #[test]
    fn names_and_skips_are_parts_or_exact() {
        let mut selection = TestSelection {
            names: vec!["disk".into(), "net".into()],
            skip: vec!["slow".into()],
            ..TestSelection::default()
        };
        let of = |selection: &TestSelection, test| selection.selects(&name("p", test), false);
        assert_eq!(of(&selection, "net::up"), Selected::Run);
        assert_eq!(of(&selection, "disk::slow"), Selected::No);
        assert_eq!(of(&selection, "cpu"), Selected::No);
        selection.exact = true;
        assert_eq!(of(&selection, "net::up"), Selected::No);
        assert_eq!(of(&selection, "net"), Selected::Run);
        selection.names.clear();
        assert_eq!(of(&selection, "disk::slow"), Selected::Run);
        assert_eq!(of(&selection, "slow"), Selected::No);
    }

    #[test]
    fn a_test_has_to_match_a_name_and_a_filter() {
        let filters = ["package(a)", "package(b)"].map(|text| text.parse().unwrap());
        let selection = TestSelection {
            names: vec!["net".into()],
            filters: filters.to_vec(),
            ..TestSelection::default()
        };
        let of = |binary, test| selection.selects(&name(binary, test), false);
        assert_eq!(of("a::it", "net"), Selected::Run);
        assert_eq!(of("b", "net"), Selected::Run);
        assert_eq!(of("b", "disk"), Selected::No);
        assert_eq!(of("c", "net"), Selected::No);
    }

    #[test]
    fn a_test_has_to_match_the_default_filter_as_well() {
        let selection = TestSelection {
            filters: vec!["all()".parse().unwrap()],
            default_filter: Some("package(a)".parse().unwrap()),
            ..TestSelection::default()
        };
        assert_eq!(selection.selects(&name("a", "net"), false), Selected::Run);
        assert_eq!(selection.selects(&name("b", "net"), false), Selected::No);
        assert!(selection.is_part());
    }

    #[test]
    fn ignored_tests_are_reported_or_run_or_the_only_ones() {
        let table = [
            (RunIgnored::No, Selected::Ignored, Selected::Run),
            (RunIgnored::Only, Selected::Run, Selected::No),
            (RunIgnored::Also, Selected::Run, Selected::Run),
        ];
        for (ignored, of_ignored, of_other) in table {
            let mut selection = TestSelection {
                ignored,
                ..TestSelection::default()
            };
            assert_eq!(selection.selects(&name("p", "t"), true), of_ignored);
            assert_eq!(selection.selects(&name("p", "t"), false), of_other);
            assert_eq!(selection.is_part(), ignored == RunIgnored::Only);
            selection.skip.push("t".into());
            assert_eq!(selection.selects(&name("p", "t"), true), Selected::No);
            assert!(selection.is_part());
        }
    }

    #[test]
    fn partitions_are_the_same_everywhere() {
        let parts: Vec<bool> = ["a", "b", "c", "d", "e", "f"]
            .map(|test| {
                let half: Partition = "hash:1/2".parse().unwrap();
                half.contains(&name("pkg::it", test))
            })
            .to_vec();
        // Fixed: a change splits the tests of machines with two versions in different ways.
        assert_eq!(parts, [false, true, true, true, true, false]);
        let one = "hash:1/4096".parse::<Partition>().unwrap();
        let of = |binary, test| {
            (1..=4096).find(|part| {
                Partition {
                    part: NonZeroU32::new(*part).unwrap(),
                    ..one
                }
                .contains(&name(binary, test))
            })
        };
        assert_ne!(
            of("a", "bc"),
            of("ab", "c"),
            "the border is part of the hash"
        );
    }

    #[test]
    fn malformed_partitions_are_refused() {
        let problem = |text: &str| text.parse::<Partition>().unwrap_err().to_string();
        let texts = [
            "",
            "hash",
            "hash:1",
            "hash:0/2",
            "hash:3/2",
            "count:1/2",
            "hash:1/-2",
        ];
        let all = texts.map(|text| format!("{text:?}: {}", problem(text)));
        insta::assert_snapshot!(all.join("\n"));
    }

    proptest! {
        #[test]
        fn each_test_is_in_exactly_one_partition(
            binary in "[a-z-]{1,8}(::[a-z/]{1,8})?", test in "\\PC{0,40}", of in 1_u32..64,
        ) {
            let of = NonZeroU32::new(of).unwrap();
            let parts = (1..=of.get()).map(|part| Partition { part: NonZeroU32::new(part).unwrap(), of });
            let texts: Vec<Partition> = parts.map(|part| part.to_string().parse().unwrap()).collect();
            let containing = texts.iter().filter(|part| part.contains(&name(&binary, &test)));
            prop_assert_eq!(containing.count(), 1);
        }

        #[test]
        fn partitions_are_of_similar_size(seed in "[a-z]{1,8}") {
            let half: Partition = "hash:1/2".parse().unwrap();
            let tests = (0..1000).map(|number| format!("{seed}::t{number}"));
            let count = tests.filter(|test| half.contains(&name("p", test))).count();
            // Six standard deviations.
            prop_assert!((400..=600).contains(&count), "{}", count);
        }
    }
}
