//! What filters and the configuration know about a test.

/// A test, as filters and the configuration select it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestName<'a> {
    /// The binary's id, in nextest's form: `pkg::it`.
    pub binary: &'a str,
    /// The test, by libtest's name.
    pub test: &'a str,
    /// The reason of `#[ignore]`, empty if it states none; `None` if the test is not ignored.
    pub ignored: Option<&'a str>,
}

impl<'a> TestName<'a> {
    /// Takes a binary's id, a test's name, and the reason of `#[ignore]`.
    #[must_use]
    pub const fn new(binary: &'a str, test: &'a str, ignored: Option<&'a str>) -> Self {
        Self {
            binary,
            test,
            ignored,
        }
    }

    /// Returns the package's name.
    #[must_use]
    pub fn package(&self) -> &'a str {
        self.binary.split("::").next().unwrap_or_default()
    }

    /// Returns the kind of the target: `lib`, `bin`, `test`, `example` or `bench`.
    #[must_use]
    pub fn kind(&self) -> &'a str {
        self.target_of_id().map_or("lib", |(kind, _)| kind)
    }

    /// Returns the name of the target. A library's is the package's: its binary id has no other.
    #[must_use]
    pub fn target(&self) -> &'a str {
        self.target_of_id().map_or(self.package(), |(_, name)| name)
    }

    fn target_of_id(&self) -> Option<(&'a str, &'a str)> {
        let (_, target) = self.binary.split_once("::")?;
        Some(target.split_once('/').unwrap_or(("test", target)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_kind_and_target_follow_from_the_binary_id() {
        let parts = |binary| {
            let name = TestName {
                binary,
                test: "t",
                ignored: None,
            };
            (name.package(), name.kind(), name.target())
        };
        assert_eq!(parts("a-b"), ("a-b", "lib", "a-b"));
        assert_eq!(parts("a-b::it"), ("a-b", "test", "it"));
        assert_eq!(parts("a-b::bin/tool"), ("a-b", "bin", "tool"));
        assert_eq!(parts("a-b::example/demo"), ("a-b", "example", "demo"));
    }
}
