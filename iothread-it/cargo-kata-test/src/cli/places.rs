//! The options `--places` and `--sudo`.

use std::str::FromStr;

use crate::place::SUITES;
use anyhow::Result;
use kata_test_runner::{CandidatePlace, SudoPlace};

use super::provision;

/// Options that select places.
#[derive(Clone, Default, clap::Args)]
pub struct PlaceOptions {
    /// Where tests may run: `all`, or a comma-separated list of `here`, `vm:bookworm`, `vm:trixie` and
    /// `vm:sid` (VMs with the kernels of these suites). The first use of a VM downloads QEMU and the
    /// kernel from the distribution's packages. Default: `here`.
    #[arg(long, value_delimiter = ',', value_name = "PLACES")]
    places: Vec<PlaceArgument>,

    /// Also runs tests as root on this host, with `sudo -n`. Ignored if this user is root.
    #[arg(long)]
    sudo: bool,
}

/// An item of `--places`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PlaceArgument {
    Here,
    All,
    /// A VM with the kernel of this suite.
    Vm(&'static str),
}

impl FromStr for PlaceArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let suite = text.strip_prefix("vm:");
        let suite = suite.and_then(|name| SUITES.into_iter().find(|suite| *suite == name));
        match (text, suite) {
            ("here", _) => Ok(Self::Here),
            ("all", _) => Ok(Self::All),
            (_, Some(suite)) => Ok(Self::Vm(suite)),
            _ => Err(format!(
                "expected here, all, or vm:SUITE, where SUITE is one of {}",
                SUITES.join(", ")
            )),
        }
    }
}

impl PlaceOptions {
    /// Makes `all` the default instead of `here`.
    pub fn default_to_all(&mut self) {
        if self.places.is_empty() {
            self.places.push(PlaceArgument::All);
        }
    }

    /// Says whether tests may run here.
    pub fn has_here(&self) -> bool {
        self.places.is_empty() || self.has(&PlaceArgument::Here)
    }

    /// Says whether tests may run in other places.
    pub fn has_others(&self) -> bool {
        self.uses_sudo()
            || self
                .places
                .iter()
                .any(|place| *place != PlaceArgument::Here)
    }

    /// Returns the places. Provides the artifacts of VMs first.
    ///
    /// # Errors
    /// If artifacts cannot be fetched or built.
    pub fn candidates(&self) -> Result<Vec<CandidatePlace>> {
        let mut candidates = Vec::new();
        if self.has_here() {
            candidates.push(CandidatePlace::Here);
        }
        if self.uses_sudo() {
            candidates.push(CandidatePlace::Place(Box::new(SudoPlace::new()?)));
        }
        let suites: Vec<&str> = SUITES
            .into_iter()
            .filter(|suite| self.has(&PlaceArgument::Vm(suite)))
            .collect();
        if !suites.is_empty() {
            for place in provision::vm_places(&suites)? {
                candidates.push(CandidatePlace::Place(Box::new(place)));
            }
        }
        Ok(candidates)
    }

    fn uses_sudo(&self) -> bool {
        self.sudo && !nix::unistd::geteuid().is_root()
    }

    fn has(&self, wanted: &PlaceArgument) -> bool {
        self.places.contains(&PlaceArgument::All) || self.places.contains(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_parsed_and_unknown_ones_are_refused() {
        assert_eq!("vm:trixie".parse(), Ok(PlaceArgument::Vm("trixie")));
        assert_eq!("all".parse(), Ok(PlaceArgument::All));
        for unknown in ["", "there", "vm:", "vm:woody"] {
            let problem = unknown.parse::<PlaceArgument>().unwrap_err();
            assert!(problem.contains("bookworm"), "{problem}");
        }
    }
}
