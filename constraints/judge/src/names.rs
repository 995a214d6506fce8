//! Names in order, and names without their doubles.
//!
//! The sorts, sets and maps of the standard library are compiled anew for each type that they hold,
//! and that by every user of this library. So what has to be in order is put in order here.

/// Names, each once, in their order.
#[derive(Debug, Default)]
pub struct Names<'a>(Vec<&'a str>);

impl<'a> Names<'a> {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a name; says whether it was not there.
    pub fn insert(&mut self, name: &'a str) -> bool {
        match self.0.binary_search(&name) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, name);
                true
            }
        }
    }

    /// The name as it was added.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.from(name)
            .first()
            .copied()
            .filter(|found| *found == name)
    }

    /// The names that do not come before this one.
    pub fn from(&self, name: &str) -> &[&'a str] {
        let start = self.0.partition_point(|other| *other < name);
        &self.0[start..]
    }

    /// All names.
    pub fn all(&self) -> &[&'a str] {
        &self.0
    }
}

/// Where the names stand, in the order of the names.
pub fn order(names: &[&str]) -> Vec<usize> {
    let mut places: Vec<(&str, usize)> = Vec::with_capacity(names.len());
    for (place, name) in names.iter().enumerate() {
        places.push((name, place));
    }
    places.sort_unstable();
    places.into_iter().map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_are_a_sorted_set(given in prop::collection::vec("[a-c]{0,3}", 0..20)) {
            let mut names = Names::new();
            let mut set = BTreeSet::new();
            for name in &given {
                prop_assert_eq!(names.insert(name), set.insert(name.as_str()));
            }
            prop_assert_eq!(names.all(), set.iter().copied().collect::<Vec<_>>());
            for name in given.iter().map(String::as_str).chain(["b", "zz"]) {
                prop_assert_eq!(names.get(name), set.get(name).copied());
                prop_assert_eq!(names.from(name), set.range(name..).copied().collect::<Vec<_>>());
            }
        }

        #[test]
        fn an_order_is_that_of_a_stable_sort(given in prop::collection::vec("[a-c]{0,2}", 0..20)) {
            let given: Vec<&str> = given.iter().map(String::as_str).collect();
            let mut sorted: Vec<usize> = (0..given.len()).collect();
            sorted.sort_by_key(|place| given[*place]);
            prop_assert_eq!(order(&given), sorted);
        }
    }
}
