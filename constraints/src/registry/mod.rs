//! The tests of one binary, which the attribute registers.

mod binary_id;
mod collected;
mod expected_failure;

use std::process::{ExitCode, Termination};
use std::time::Duration;

use crate::constraint::Constraint;
use crate::names::Names;
use crate::one_version::there_is_one_version;
use crate::runner_env::scaled;

pub use collected::Required;
pub(crate) use collected::tests;
pub use expected_failure::ExpectedFailure;

pub use binary_id::{BINARY_ID, BINARY_IDS};

/// The target that a test was compiled into, as Cargo named it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// `CARGO_PKG_NAME`.
    pub package: Option<&'static str>,
    /// `CARGO_CRATE_NAME`.
    pub krate: Option<&'static str>,
    /// `CARGO_BIN_NAME`, set for programs only.
    pub bin: Option<&'static str>,
    /// `CARGO_TARGET_TMPDIR`, set for integration tests and benchmarks only.
    pub tmpdir: Option<&'static str>,
    /// The source file.
    pub file: &'static str,
}

impl Target {
    /// The binary's id in nextest's form: `pkg` for a library, `pkg::it` for an integration test,
    /// `pkg::bin/name` for a program, `pkg::example/name` for an example, `pkg::bench/name` for a
    /// benchmark. It is guessed only if no runner states it.
    pub(crate) fn binary_id(&self) -> String {
        let given = binary_id::given_ids().iter().find(|id| self.fits(id));
        given.cloned().unwrap_or_else(|| self.guessed_id())
    }

    /// Whether an id can be that of this target.
    fn fits(&self, id: &str) -> bool {
        let package = self.package.unwrap_or("unknown");
        match id.strip_prefix(package) {
            Some("") => self.tmpdir.is_none() && self.bin.is_none(),
            Some(rest) => {
                let name = rest.strip_prefix("::").map(|rest| {
                    let (_, name) = rest.split_once('/').unwrap_or(("test", rest));
                    name.replace('-', "_")
                });
                name.as_deref() == self.krate
            }
            None => false,
        }
    }

    fn guessed_id(&self) -> String {
        let package = self.package.unwrap_or("unknown");
        if self.tmpdir.is_some() {
            let (name, is_bench) = self.integration_target();
            let kind = if is_bench { "bench/" } else { "" };
            return format!("{package}::{kind}{name}");
        }
        match self.bin {
            Some(bin) => format!("{package}::bin/{bin}"),
            None => package.to_owned(),
        }
    }

    /// The target's name, which can have dashes where the crate has underscores, and whether the
    /// target is a benchmark. Only the file's path has both.
    fn integration_target(&self) -> (&str, bool) {
        let krate = self.krate.unwrap_or("unknown");
        let mut parts = self.file.split(['/', '\\']).rev();
        let file = parts.next().unwrap_or_default().trim_end_matches(".rs");
        let folder = parts.next().unwrap_or_default();
        let (name, root) = match file {
            "main" => (folder, parts.next().unwrap_or_default()),
            _ => (file, folder),
        };
        let name = if name.replace('-', "_") == krate {
            name
        } else {
            krate
        };
        (name, root == "benches")
    }
}

/// Whether and how a test should panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShouldPanic {
    /// It must not panic.
    No,
    /// It must panic.
    Yes,
    /// It must panic with this text.
    With(&'static str),
}

/// The function of a test; it returns whether the test succeeded.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    /// It returns nothing, so it succeeds unless it panics.
    Unit(fn()),
    /// It returns whether it succeeded.
    Plain(fn() -> bool),
    /// It blocks on this runtime, and returns whether it succeeded.
    #[cfg(feature = "tokio")]
    Async(fn(&tokio::runtime::Runtime) -> bool),
}

/// A test, as the attribute registers it.
#[derive(Debug)]
pub struct Test {
    /// The path, which begins with the crate's name.
    pub path: &'static str,
    /// The function.
    pub body: Body,
    /// The constraints that must all be met.
    pub constraints: &'static [Constraint],
    /// The reason of `#[ignore]`, empty if it gave none.
    pub ignore: Option<&'static str>,
    /// Whether and how it should panic.
    pub should_panic: ShouldPanic,
    /// The issue that explains the constraints.
    pub issue: Option<&'static str>,
    /// Why the test has its constraints.
    pub reason: Option<&'static str>,
    /// How long it may run; waiting for its serial group does not count.
    pub timeout: Option<Duration>,
    /// The group of tests of which one at a time may run.
    pub serial: Option<&'static str>,
    /// Whether a runner that boots VMs gives it one of its own.
    pub own_machine: bool,
    /// How it fails, and when; the first that applies counts.
    pub expect_failure: &'static [ExpectedFailure],
    /// Why its failures do not fail the run.
    pub unstable: Option<&'static str>,
    /// How often it runs again if it fails, if it states that.
    pub retries: Option<u32>,
}

/// The opt-ins of this binary's tests, those of `require!` included.
pub(crate) fn opt_ins() -> Names<'static> {
    let stated = tests().map(|test| test.constraints);
    let required = collected::required().map(|required| required.0);
    let mut names = Names::new();
    for one in stated.chain(required).flatten() {
        one.opt_ins(&mut names);
    }
    names
}

impl Test {
    /// A test without constraints and metadata.
    #[must_use]
    pub const fn new(path: &'static str, body: Body) -> Self {
        Self {
            path,
            body,
            constraints: &[],
            ignore: None,
            should_panic: ShouldPanic::No,
            issue: None,
            reason: None,
            timeout: None,
            serial: None,
            own_machine: false,
            expect_failure: &[],
            unstable: None,
            retries: None,
        }
    }

    /// Its time limit in this place.
    pub(crate) fn time_limit(&self) -> Option<Duration> {
        self.timeout.map(scaled)
    }

    /// The name that libtest gives it: the path without the crate.
    pub(crate) fn name(&self) -> &'static str {
        // The search for a character is part of the standard library, and optimized; that for a text is
        // compiled with the tests.
        match self.path.split_once(':') {
            Some((_, name)) => &name[1..],
            None => self.path,
        }
    }

    /// The test registered under this path, crate included.
    pub(crate) fn find(path: &str) -> Option<&'static Self> {
        tests().find(|test| test.path == path)
    }
}

/// Whether a test's return value is a success; prints an error.
pub fn succeeded(returned: impl Termination) -> bool {
    there_is_one_version();
    returned.report() == ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    //! Scope: names. The ids are compared with nextest's own in the tests that run it.

    use super::*;

    const LIB: Target = Target {
        package: Some("my-pkg"),
        krate: Some("my_pkg"),
        bin: None,
        tmpdir: None,
        file: "src/lib.rs",
    };

    #[test]
    fn binary_ids() {
        let id = |target: Target| target.guessed_id();
        let it = |krate, file| Target {
            krate: Some(krate),
            file,
            tmpdir: Some("x"),
            ..LIB
        };
        assert_eq!(id(LIB), "my-pkg");
        assert_eq!(
            id(Target {
                bin: Some("a-tool"),
                ..LIB
            }),
            "my-pkg::bin/a-tool"
        );
        assert_eq!(
            id(it("with_dash", "tests/with-dash.rs")),
            "my-pkg::with-dash"
        );
        assert_eq!(id(it("it", "sub/tests/it/main.rs")), "my-pkg::it");
        assert_eq!(id(it("it", "sub/tests/it/deeper.rs")), "my-pkg::it");
        assert_eq!(id(it("speed", "benches/speed.rs")), "my-pkg::bench/speed");
    }

    #[test]
    fn a_stated_id_has_to_fit_the_target() {
        let it = Target {
            krate: Some("end_to_end"),
            tmpdir: Some("x"),
            ..LIB
        };
        assert!(it.fits("my-pkg::end-to-end"));
        for other in [
            "my-pkg",
            "my-pkg::other",
            "my-pkg-2::end-to-end",
            "other::end-to-end",
            "",
        ] {
            assert!(!it.fits(other), "{other}");
        }
        let example = Target {
            krate: Some("a_tool"),
            bin: Some("a-tool"),
            ..LIB
        };
        assert!(example.fits("my-pkg::example/a-tool") && !example.fits("my-pkg"));
        assert!(LIB.fits("my-pkg") && !LIB.fits("my-pkg::it"));
    }

    #[test]
    fn names_are_paths_without_the_crate() {
        let name = |path| Test::new(path, Body::Plain(|| true)).name();
        assert_eq!(name("krate::module::test"), "module::test");
        assert_eq!(name("krate::test"), "test");
    }
}
