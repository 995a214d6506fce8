//! Sorted names.
//!
//! The sets and maps of the standard library are compiled anew by every user of this library.

/// A sorted list of names without duplicates.
#[derive(Debug, Default)]
pub struct Names<'a>(Vec<&'a str>);

impl<'a> Names<'a> {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a name. Returns whether it was new.
    pub fn insert(&mut self, name: &'a str) -> bool {
        match self.0.binary_search(&name) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, name);
                true
            }
        }
    }

    /// Returns the name as it was added.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.from(name)
            .first()
            .copied()
            .filter(|found| *found == name)
    }

    /// Returns this name and those after it.
    pub fn from(&self, name: &str) -> &[&'a str] {
        let start = self.0.partition_point(|other| *other < name);
        &self.0[start..]
    }

    /// Returns all names.
    pub fn all(&self) -> &[&'a str] {
        &self.0
    }
}

/// Returns these sorted by name; equal names keep their order.
pub fn in_order<T: Copy>(items: &[T], name: impl Fn(&T) -> &str) -> Vec<T> {
    let mut keys: Vec<(&str, usize)> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        keys.push((name(item), index));
    }
    sort(&mut keys);
    keys.iter().map(|(_, index)| items[*index]).collect()
}

/// Not generic: the standard library's sort is compiled once here, and not for each type by users.
fn sort(keys: &mut [(&str, usize)]) {
    keys.sort_by_key(|(name, _)| *name);
}

/// Binary search: the index of a name, or the index at which to insert it.
pub fn place<T>(among: &[(String, T)], name: &str) -> Result<usize, usize> {
    among.binary_search_by(|(known, _)| (**known).cmp(name))
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
        fn sorting_is_stable(given in prop::collection::vec("[a-c]{0,2}", 0..20)) {
            let given: Vec<(usize, &str)> = given.iter().map(String::as_str).enumerate().collect();
            let mut sorted = given.clone();
            sorted.sort_by_key(|(_, name)| *name);
            prop_assert_eq!(in_order(&given, |(_, name)| name), sorted);
        }

        #[test]
        fn an_inserted_name_is_found(given in prop::collection::vec("[a-c]{0,2}", 0..20)) {
            let mut among: Vec<(String, ())> = Vec::new();
            for name in &given {
                if let Err(at) = place(&among, name) {
                    among.insert(at, (name.clone(), ()));
                }
            }
            let set: BTreeSet<_> = given.iter().map(|name| (name.clone(), ())).collect();
            prop_assert_eq!(&among, &set.into_iter().collect::<Vec<_>>());
            for name in &given {
                let at = place(&among, name).expect("it is there");
                prop_assert_eq!(&among[at].0, name);
            }
        }
    }
}
