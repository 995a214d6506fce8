//! The configuration of a workspace: `.config/kata-test.toml`, or `[workspace.metadata.kata-test]` in
//! `Cargo.toml`. [`keys`] lists what it may contain.

mod error;
mod excludes;
mod file;
mod keys;
mod raw;
mod rules;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kata_test_host::constraint::{Constraint, Demand};
use regex_lite::Regex;

use crate::{Secrets, TestName, UserKind};
pub use error::ConfigError;
pub use excludes::Excludes;
use file::Source;
pub use keys::reference;
use rules::Rule;

/// The configuration of a workspace.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Config {
    rules: Vec<Rule>,
    /// Selects the tests of a run, together with the filters of its command line.
    pub default_filter: Option<crate::Filter>,
    /// The named places.
    pub places: BTreeMap<String, NamedPlace>,
    /// How output that reports a skip is recognized.
    pub suspects: Suspects,
    /// The ids of binaries with another `main` that takes libtest's arguments.
    pub libtest_compatible: Vec<String>,
    /// The files of packages that are not copied into VMs.
    pub package_files: Excludes,
    /// The variables that tests in VMs do not get.
    pub secrets: Secrets,
    /// The Debian archive for VMs.
    pub archive: Option<Archive>,
    /// The QEMU of VMs, as it is written: this crate does not know what names one.
    pub qemu: Option<String>,
}

/// A Debian archive, which QEMU and the kernels of VMs come from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Archive {
    /// Its URL.
    pub url: String,
    /// Its suites, the preferred one first.
    pub suites: Vec<String>,
    /// The file with the keys that sign them.
    pub keyring: PathBuf,
}

/// A place that the configuration defines.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedPlace {
    /// The kernel that a VM boots.
    pub kernel: NamedKernel,
    /// Further arguments of the kernel.
    pub kernel_args: String,
    /// Whether it has a network, by QEMU's user-mode networking.
    pub network: bool,
}

/// The kernel of a place that the configuration defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedKernel {
    /// That of a suite of the archive: `bookworm`.
    Suite(String),
    /// One of the user's own.
    Own {
        /// Its file, the folder that it was built in, or a package.
        kernel: PathBuf,
        /// The folder or package of its modules.
        modules: Option<PathBuf>,
    },
}

impl NamedPlace {
    /// Returns the name of the place: `vm:bookworm` if the name only stands for that, or else its own.
    #[must_use]
    pub fn place(&self, own_name: &str) -> String {
        match &self.kernel {
            NamedKernel::Suite(suite) if self.kernel_args.is_empty() && !self.network => {
                format!("vm:{suite}")
            }
            NamedKernel::Suite(_) | NamedKernel::Own { .. } => own_name.to_owned(),
        }
    }

    /// Makes relative paths absolute: they are relative to the root of the workspace.
    fn with_root(mut self, root: &Path) -> Self {
        if let NamedKernel::Own { kernel, modules } = &mut self.kernel {
            for path in [Some(kernel), modules.as_mut()].into_iter().flatten() {
                *path = root.join(&*path);
            }
        }
        self
    }
}

/// How output of a passed test that reports a skip is recognized.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Suspects {
    /// The pattern that replaces the default.
    pub pattern: Option<Regex>,
    /// What follows if no place runs the test without such output.
    pub policy: SuspectPolicy,
}

/// What follows from a suspected skip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SuspectPolicy {
    /// It is reported.
    #[default]
    Report,
    /// It is reported, and the run fails.
    Fail,
}

/// What the configuration states about a test.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TestSettings {
    /// Its constraints, beside those of its attribute.
    pub requires: Vec<Constraint>,
    /// The same as they are written, in the grammar of the attribute.
    pub requires_texts: Vec<String>,
    /// Whether a requirement for its reason to be ignored makes it run where that is met.
    pub runs_ignored: bool,
    /// The user that it runs as; by default one like the caller.
    pub user: Option<UserKind>,
    /// Its time limit.
    pub timeout: Option<Duration>,
    /// How often it runs again if it fails.
    pub retries: Option<u32>,
    /// How it fails, and when.
    pub expect_failure: Option<ExpectFailure>,
    /// Why its failures do not fail the run.
    pub unstable: Option<String>,
    /// The only places where it may run; none of them is a name of the configuration.
    pub places: Option<Vec<String>>,
    /// Whether it may run together with others in one guest.
    pub parallel: bool,
    /// Whether no other test of its binary may run at the same time, on this host either.
    pub alone: bool,
    /// Whether root in a user namespace suffices where it needs root.
    pub root_in_userns: bool,
}

/// How a test fails, and when, as in the attribute.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ExpectFailure {
    /// The failure is expected while these are met.
    pub constraints: Vec<Constraint>,
    /// The same as they are written, in the grammar of the attribute.
    pub constraints_text: Option<String>,
    /// The issue that explains it.
    pub issue: Option<String>,
    /// What the output of the test has to contain.
    pub message: Option<String>,
    /// The end of its process by a signal, or with another exit status than 101, counts too.
    pub crash: bool,
    /// Exceeding its time limit counts too.
    pub timeout: bool,
    /// It may also pass.
    pub sometimes: bool,
}

impl ExpectFailure {
    /// Returns when it is expected: `kernel < 6.5, arch = x86_64`; empty if always.
    #[must_use]
    pub fn condition(&self) -> String {
        texts(&self.constraints)
    }
}

fn texts(constraints: &[Constraint]) -> String {
    let texts: Vec<String> = constraints.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

impl TestSettings {
    /// Returns the constraints as a plan shows them.
    #[must_use]
    pub fn needs(&self) -> String {
        texts(&self.requires)
    }

    /// Returns what its constraints ask of a place that can be made to measure.
    #[must_use]
    pub fn demand(&self) -> Demand {
        Demand::of(&self.requires)
    }
}

impl Config {
    /// Reads the configuration of a workspace. Without one, the default is returned.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or has a mistake; the error names file and line.
    pub fn load(workspace_root: &Path) -> Result<Self, ConfigError> {
        let Some(source) = Source::find(workspace_root)? else {
            return Ok(Self::default());
        };
        let mut config = source.config()?;
        let places = config.places.into_iter();
        let places = places.map(|(name, place)| (name, place.with_root(workspace_root)));
        config.places = places.collect();
        Ok(config)
    }

    /// Returns what is configured for a test. Of several `[[tests]]` that match, the first that has a key
    /// counts, but all their requirements do.
    #[must_use]
    pub fn for_test(&self, test: &TestName<'_>) -> TestSettings {
        let mut settings = TestSettings::default();
        let (mut parallel, mut root_in_userns) = (None, None);
        for rule in self.rules.iter().filter(|rule| rule.filter.matches(test)) {
            settings.requires.extend(&rule.requires);
            settings.requires_texts.extend(rule.requires_text.clone());
            settings.runs_ignored |= !rule.requires.is_empty()
                && test.ignored.is_some()
                && rule.filter.is_about_ignored();
            settings.user = settings.user.or(rule.user);
            settings.timeout = settings.timeout.or(rule.timeout);
            settings.retries = settings.retries.or(rule.retries);
            let expect_failure = settings.expect_failure;
            settings.expect_failure = expect_failure.or_else(|| rule.expect_failure.clone());
            settings.unstable = settings.unstable.or_else(|| rule.unstable.clone());
            settings.places = settings.places.or_else(|| rule.places.clone());
            parallel = parallel.or(rule.parallel);
            root_in_userns = root_in_userns.or(rule.root_in_userns);
        }
        settings.parallel = parallel == Some(true);
        settings.alone = parallel == Some(false);
        settings.root_in_userns = root_in_userns == Some(true);
        settings
    }

    /// Returns whether a binary with another `main` takes libtest's arguments.
    #[must_use]
    pub fn is_libtest_compatible(&self, binary_id: &str) -> bool {
        self.libtest_compatible.iter().any(|id| id == binary_id)
    }
}

#[cfg(test)]
mod tests;
