//! Finds a test by its name, with its binary.

use std::ffi::OsString;

use anyhow::{Result, bail};
use kata_test::constraint::Demand;
use kata_test_runner::{
    Binary, BinaryKind, Config, Listing, StopToken, UserKind, Workspace, list_plain,
    questions_of_text,
};

use crate::cli::build::Build;
use crate::cli::plain::{Binaries, PlainArguments, select};
use crate::cli::plan;

/// The options with which a harness runs one test in its own process.
const OF_LIBTEST: &[&str] = &[
    "--exact",
    "--include-ignored",
    "--nocapture",
    "--test-threads=1",
];
const OF_KATA_TEST: &[&str] = &["--exact", "--include-ignored", "--in-process"];

/// A test, and what it runs with.
pub(super) struct Test {
    pub(super) config: Config,
    /// Its binary, with the questions that its requirement leads to.
    pub(super) binary: Binary,
    /// The user that it runs as in a place.
    pub(super) user: UserKind,
    /// What it asks of a place that can be made to measure.
    pub(super) demand: Demand,
    /// The arguments that run it alone, in the process that is started.
    pub(super) arguments: Vec<OsString>,
}

impl Test {
    /// Builds the tests and finds the one with a name, or with a binary's id before its name. One with kata-test's
    /// harness runs as `harness_user`.
    ///
    /// # Errors
    /// If the tests cannot be built or listed, or not exactly one has that name.
    pub(super) fn find(
        workspace: &Workspace,
        build: &Build,
        name: &str,
        harness_user: UserKind,
    ) -> Result<Self> {
        let config = Config::load(&workspace.root)?;
        let binaries = plan::binaries(workspace, build, &config, &[])?;
        let binaries = Binaries::sort(binaries, &PlainArguments::default(), &config)?;
        let is_named =
            |binary: &Binary, test: &str| test == name || format!("{} {test}", binary.id) == name;
        let mut found = Vec::new();
        for binary in &binaries.plain {
            let mut tests = list_plain(binary, StopToken::NEVER)?;
            select(&mut tests, &Default::default(), &config);
            for test in tests.iter().filter(|test| is_named(binary, &test.id.test)) {
                let texts = test.settings.requires_texts.iter();
                let questions = texts.flat_map(|text| questions_of_text(text)).collect();
                let user = test.settings.user.unwrap_or(UserKind::current());
                let demand = test.settings.demand();
                let name = test.id.test.clone();
                found.push((binary, (questions, demand), user, OF_LIBTEST, name));
            }
        }
        let others = binaries.others.iter();
        for (binary, _) in others.filter(|(_, kind)| *kind == BinaryKind::Annotated) {
            let Some(listing) = Listing::of(binary, None, StopToken::NEVER)? else {
                continue;
            };
            // Those of all its tests, as when it runs in a place.
            let questions: Vec<String> = listing
                .facts
                .into_iter()
                .map(|fact| fact.question)
                .collect();
            let tests = listing.tests.into_iter();
            for test in tests.filter(|test| is_named(binary, &test.test)) {
                let asked = (questions.clone(), test.demand);
                found.push((binary, asked, harness_user, OF_KATA_TEST, test.test));
            }
        }
        let names: Vec<String> = found
            .iter()
            .map(|(binary, .., test)| format!("`{} {test}`", binary.id))
            .collect();
        let Some((binary, (questions, demand), user, options, test)) = found.pop() else {
            bail!(
                "no test has the name {name}: a whole name is needed, as of `cargo kata-test plan`"
            );
        };
        if !found.is_empty() {
            bail!("several tests have the name {name}: {}", names.join(", "));
        }
        let arguments = options.iter().map(OsString::from).chain([test.into()]);
        Ok(Self {
            binary: Binary {
                questions,
                ..binary.clone()
            },
            user,
            demand,
            arguments: arguments.collect(),
            config,
        })
    }
}
