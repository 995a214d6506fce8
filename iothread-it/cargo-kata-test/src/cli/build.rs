//! Which test binaries there are.

use std::ffi::OsString;

/// What cargo is to build, as `cargo test` takes it.
#[derive(Clone, Default, clap::Args)]
pub struct Build {
    /// Takes the tests of these packages only, not of the whole workspace.
    #[arg(short, long, value_name = "PACKAGE")]
    pub package: Vec<String>,

    /// Turns these features on.
    #[arg(short = 'F', long, value_name = "FEATURES")]
    pub features: Vec<String>,

    /// Turns every feature on.
    #[arg(long)]
    pub all_features: bool,
}

impl Build {
    /// The arguments for cargo.
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
