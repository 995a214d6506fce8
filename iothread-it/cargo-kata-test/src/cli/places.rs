//! The places that a person chooses from.

use std::str::FromStr;

use crate::place::SUITES;
use anyhow::Result;
use kata_test_runner::{CandidatePlace, SudoPlace};

use super::provision;

/// Some places.
#[derive(Clone, Default, clap::Args)]
pub struct Choice {
    /// Where tests may run: `here`, `all`, or some of `here`, `vm:bookworm`, `vm:trixie` and `vm:sid`
    /// (VMs with the kernels of these suites), separated by commas. What VMs are made of is fetched
    /// from the distribution's packages when it is first needed.
    #[arg(long, value_delimiter = ',', value_name = "PLACES")]
    places: Vec<Wanted>,

    /// Runs tests that need root here too, by `sudo -n`, where this user may have that without a
    /// password. Root does not need it.
    #[arg(long)]
    sudo: bool,
}

/// A place, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Here,
    All,
    /// A VM with the kernel of this suite.
    Vm(&'static str),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let suite = text.strip_prefix("vm:");
        let suite = suite.and_then(|name| SUITES.into_iter().find(|suite| *suite == name));
        match (text, suite) {
            ("here", _) => Ok(Self::Here),
            ("all", _) => Ok(Self::All),
            (_, Some(suite)) => Ok(Self::Vm(suite)),
            _ => Err(format!(
                "it takes here, all, or vm: and one of {}",
                SUITES.join(", ")
            )),
        }
    }
}

impl Choice {
    /// Takes all places where none was named. Otherwise that is here alone, which fetches nothing.
    pub fn or_all(&mut self) {
        if self.places.is_empty() {
            self.places.push(Wanted::All);
        }
    }

    /// Says whether tests may run here.
    pub fn is_here(&self) -> bool {
        self.places.is_empty() || self.has(&Wanted::Here)
    }

    /// Says whether there are other places than here.
    pub fn is_elsewhere(&self) -> bool {
        self.by_sudo() || self.places.iter().any(|place| *place != Wanted::Here)
    }

    /// The places, each ready to be asked. What a VM is made of is provided first.
    ///
    /// # Errors
    /// If that cannot be had.
    pub fn candidates(&self) -> Result<Vec<CandidatePlace>> {
        let mut candidates = Vec::new();
        if self.is_here() {
            candidates.push(CandidatePlace::Here);
        }
        if self.by_sudo() {
            candidates.push(CandidatePlace::Place(Box::new(SudoPlace::new()?)));
        }
        let suites: Vec<&str> = SUITES
            .into_iter()
            .filter(|suite| self.has(&Wanted::Vm(suite)))
            .collect();
        if !suites.is_empty() {
            for place in provision::vm_places(&suites)? {
                candidates.push(CandidatePlace::Place(Box::new(place)));
            }
        }
        Ok(candidates)
    }

    fn by_sudo(&self) -> bool {
        self.sudo && !nix::unistd::geteuid().is_root()
    }

    fn has(&self, wanted: &Wanted) -> bool {
        self.places.contains(&Wanted::All) || self.places.contains(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_slips_are_told() {
        assert_eq!("vm:trixie".parse(), Ok(Wanted::Vm("trixie")));
        assert_eq!("all".parse(), Ok(Wanted::All));
        for slip in ["", "there", "vm:", "vm:woody"] {
            let problem = slip.parse::<Wanted>().unwrap_err();
            assert!(problem.contains("bookworm"), "{problem}");
        }
    }
}
