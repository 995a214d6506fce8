//! Options of `cargo test` that select what is built, and how.

use std::ffi::OsString;
use std::path::PathBuf;

use kata_test_runner::{CargoError, Workspace};

/// Options of `cargo test` that select what is built, and how.
#[derive(Clone, Default, clap::Args)]
pub struct Build {
    #[command(flatten)]
    packages: Packages,
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    features: Features,
    #[command(flatten)]
    compilation: Compilation,
    #[command(flatten)]
    manifest: Manifest,
    #[command(flatten)]
    _end: EndOfHeadings,
}

/// Ends the last heading: otherwise it would also be that of options that are not cargo's.
#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = None::<&'static str>)]
struct EndOfHeadings {}

#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = "Package selection")]
struct Packages {
    /// Selects these packages.
    #[arg(short, long, value_name = "PACKAGE")]
    package: Vec<String>,

    /// Selects all packages of the workspace; the default, also in a package's folder.
    #[arg(long)]
    workspace: bool,

    /// Leaves these packages out.
    #[arg(long, value_name = "PACKAGE", conflicts_with = "package")]
    exclude: Vec<String>,
}

#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = "Target selection")]
struct Targets {
    /// Selects the libraries' unit tests.
    #[arg(long)]
    lib: bool,

    /// Selects the unit tests of all programs.
    #[arg(long)]
    bins: bool,

    /// Selects the unit tests of these programs.
    #[arg(long, value_name = "NAME")]
    bin: Vec<String>,

    /// Selects all targets that are tested by default.
    #[arg(long)]
    tests: bool,

    /// Selects these integration tests.
    #[arg(long, value_name = "NAME")]
    test: Vec<String>,

    /// Selects all examples.
    #[arg(long)]
    examples: bool,

    /// Selects these examples.
    #[arg(long, value_name = "NAME")]
    example: Vec<String>,
}

#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = "Feature selection")]
struct Features {
    /// Enables these features.
    #[arg(short = 'F', long, value_name = "FEATURES")]
    features: Vec<String>,

    /// Enables all features.
    #[arg(long)]
    all_features: bool,

    /// Disables the default features.
    #[arg(long)]
    no_default_features: bool,
}

#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = "Compilation options")]
struct Compilation {
    /// Builds with the release profile.
    #[arg(short, long, conflicts_with = "profile")]
    release: bool,

    /// Builds with this profile of cargo.
    #[arg(long, visible_alias = "cargo-profile", value_name = "NAME")]
    profile: Option<String>,

    /// Builds for this target.
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,

    /// Builds in this directory.
    #[arg(long, value_name = "DIR")]
    target_dir: Option<PathBuf>,

    /// Runs this many jobs of the build at a time.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    build_jobs: Option<String>,
}

#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = "Manifest options")]
struct Manifest {
    /// Uses the workspace of this Cargo.toml. Default: that of the current directory.
    #[arg(long, value_name = "FILE")]
    manifest_path: Option<PathBuf>,

    /// Fails if Cargo.lock would change.
    #[arg(long)]
    locked: bool,

    /// Builds without a network, and makes VMs of what the cache has.
    #[arg(long)]
    offline: bool,

    /// The same as --locked and --offline.
    #[arg(long)]
    frozen: bool,
}

impl Build {
    /// Finds the workspace, as the options for the manifest select it.
    ///
    /// # Errors
    /// If there is none, or cargo cannot be run.
    pub fn workspace(&self) -> Result<Workspace, CargoError> {
        let target = self.compilation.target_dir.as_deref();
        Workspace::find(&self.manifest.arguments(), target)
    }

    /// Enables all features.
    pub fn enable_all_features(&mut self) {
        self.features.all_features = true;
    }

    /// Returns whether the options forbid the use of a network.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.manifest.offline || self.manifest.frozen
    }

    /// Returns the arguments for `cargo test`.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        self.arguments_with("--profile", "--jobs")
    }

    /// Returns whether documentation tests are selected: cargo runs them unless targets are.
    #[must_use]
    pub(super) fn has_doctests(&self, workspace: &Workspace) -> bool {
        let targets = &self.targets;
        let flags = targets.lib || targets.bins || targets.tests || targets.examples;
        let named = [&targets.bin, &targets.test, &targets.example];
        !flags
            && named.iter().all(|names| names.is_empty())
            && workspace.has_doctests(&self.packages.package, &self.packages.exclude)
    }

    /// Returns the arguments for `cargo nextest`, which has other names for two options.
    pub(super) fn nextest_arguments(&self) -> Vec<OsString> {
        self.arguments_with("--cargo-profile", "--build-jobs")
    }

    /// Returns the arguments, with these names of two options.
    fn arguments_with(&self, profile: &str, jobs: &str) -> Vec<OsString> {
        let mut arguments = Arguments::default();
        let Self {
            packages,
            targets,
            features,
            compilation,
            ..
        } = self;
        arguments.flag(
            "--workspace",
            packages.workspace || packages.package.is_empty(),
        );
        arguments.values("--package", &packages.package);
        arguments.values("--exclude", &packages.exclude);
        arguments.flag("--lib", targets.lib);
        arguments.flag("--bins", targets.bins);
        arguments.values("--bin", &targets.bin);
        arguments.flag("--tests", targets.tests);
        arguments.values("--test", &targets.test);
        arguments.flag("--examples", targets.examples);
        arguments.values("--example", &targets.example);
        arguments.values("--features", &features.features);
        arguments.flag("--all-features", features.all_features);
        arguments.flag("--no-default-features", features.no_default_features);
        arguments.flag("--release", compilation.release);
        arguments.values(profile, &compilation.profile);
        arguments.values("--target", &compilation.target);
        arguments.values("--target-dir", &compilation.target_dir);
        arguments.values(jobs, &compilation.build_jobs);
        arguments.0.extend(self.manifest.arguments());
        arguments.0
    }
}

impl Manifest {
    /// Returns the arguments that every command of cargo takes.
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Arguments::default();
        arguments.values("--manifest-path", &self.manifest_path);
        arguments.flag("--locked", self.locked);
        arguments.flag("--offline", self.offline);
        arguments.flag("--frozen", self.frozen);
        arguments.0
    }
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn flag(&mut self, name: &str, is_set: bool) {
        self.0.extend(is_set.then(|| name.into()));
    }

    /// Adds an option for each value. As one argument, since a value may begin with a dash.
    fn values<'a, T>(&mut self, name: &str, values: impl IntoIterator<Item = &'a T>)
    where
        T: AsRef<std::ffi::OsStr> + 'a,
    {
        for value in values {
            let mut argument = OsString::from(name);
            argument.push("=");
            argument.push(value);
            self.0.push(argument);
        }
    }
}

#[cfg(test)]
mod tests {
    //! Scope: arguments. That cargo takes them is tested with a workspace.

    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    fn build(arguments: &str) -> Build {
        let command = Build::augment_args(clap::Command::new("test"));
        let arguments = ["test"].into_iter().chain(arguments.split_whitespace());
        let matches = command.try_get_matches_from(arguments).unwrap();
        Build::from_arg_matches(&matches).unwrap()
    }

    fn text(arguments: Vec<OsString>) -> String {
        let arguments: Vec<_> = arguments.iter().map(|a| a.to_string_lossy()).collect();
        arguments.join(" ")
    }

    #[test]
    fn each_option_reaches_cargo_and_nextest() {
        let all = "--workspace --exclude=b --lib --bins --bin=c --tests --test=d --examples --example=e \
                   --features=f,g --all-features --no-default-features --target=t \
                   --target-dir=dir --manifest-path=p/Cargo.toml --locked --offline --frozen";
        assert_eq!(
            text(build(all).arguments()),
            all.split_whitespace().collect::<Vec<_>>().join(" ")
        );
        assert_eq!(
            text(build(all).nextest_arguments()),
            text(build(all).arguments())
        );

        let renamed = build("-p a -p b -r --build-jobs -1");
        assert_eq!(
            text(renamed.arguments()),
            "--package=a --package=b --release --jobs=-1"
        );
        assert_eq!(
            text(renamed.nextest_arguments()),
            "--package=a --package=b --release --build-jobs=-1"
        );
        let profile = build("--cargo-profile fast");
        assert_eq!(text(profile.arguments()), "--workspace --profile=fast");
        assert_eq!(
            text(profile.nextest_arguments()),
            "--workspace --cargo-profile=fast"
        );
    }

    #[test]
    fn offline_is_for_cargo_and_the_cache() {
        assert!(build("--offline").is_offline());
        assert!(build("--frozen").is_offline());
        assert!(!build("--locked").is_offline());
    }

    #[test]
    fn the_options_find_the_workspace() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        std::fs::write(folder.path().join("src/lib.rs"), "").unwrap();
        let manifest = folder.path().join("Cargo.toml");
        std::fs::write(&manifest, "[package]\nname = \"elsewhere\"\n[workspace]\n").unwrap();
        let options = format!("--offline --manifest-path {}", manifest.display());
        let root = std::fs::canonicalize(folder.path()).unwrap();
        assert_eq!(build(&options).workspace().unwrap().root, root);
        let options = format!("{options} --target-dir {}/built", root.display());
        let workspace = build(&options).workspace().unwrap();
        assert_eq!(workspace.target, root.join("built"));
        assert_eq!(
            workspace.manifests().collect::<Vec<_>>(),
            [root.join("Cargo.toml")]
        );
    }
}
