//! Options that select the test binaries to build.

use std::ffi::OsString;

/// Options of `cargo test` that select what is built.
#[derive(Clone, Default, clap::Args)]
pub struct Build {
    /// Selects the tests of these packages, not of the whole workspace.
    #[arg(short, long, value_name = "PACKAGE")]
    pub package: Vec<String>,

    /// Enables these features.
    #[arg(short = 'F', long, value_name = "FEATURES")]
    pub features: Vec<String>,

    /// Enables all features.
    #[arg(long)]
    pub all_features: bool,
}

impl Build {
    /// Returns the arguments for cargo.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let with = |name: &str, value: &String| [name.into(), value.into()];
        if self.package.is_empty() {
            arguments.push("--workspace".into());
        }
        arguments.extend(
            self.package
                .iter()
                .flat_map(|package| with("--package", package)),
        );
        arguments.extend(
            self.features
                .iter()
                .flat_map(|feature| with("--features", feature)),
        );
        if self.all_features {
            arguments.push("--all-features".into());
        }
        arguments
    }
}
