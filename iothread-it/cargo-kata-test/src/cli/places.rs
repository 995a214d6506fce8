//! The options `--places` and `--sudo`.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Result, bail};
use guest_vm::artifacts::KernelChoice;
use kata_test_runner::{CandidatePlace, NamedPlace, Spread, SudoPlace};

use super::provision;
use super::vm_choice::{OwnKernelOptions, VmChoice};

/// Options that select places.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PlaceOptions {
    /// Where tests may run, separated by commas: `here`; `vm:VERSION`, a VM with the newest kernel of that
    /// line in the distribution's archive, such as `vm:6.12`; `vm:SUITE`, with the kernel of a suite, such as
    /// `vm:trixie`; a name from the configuration; or `all`, which is `here`, a VM for each kernel with
    /// long-term support (that of each stable release), and one for the newest. With `+generic`, as in
    /// `vm:6.12+generic`, the kernel is the one for all machines instead of the one for clouds. `cargo
    /// kata-test facts --places` lists what there is. The first use of a VM downloads QEMU and the kernel from the
    /// distribution's packages. Default: `here`, or with `--kernel`, the place with that kernel.
    #[arg(long, value_delimiter = ',', value_name = "PLACES")]
    places: Vec<PlaceArgument>,

    /// Also runs tests as root on this host, with `sudo -n`. Ignored if this user is root.
    #[arg(long)]
    sudo: bool,

    /// Runs each test in every place that takes it, not only in the first. Plain tests run there as the same
    /// kind of user as here. Each place has an outcome of its own; a test that failed there and passed when
    /// it ran again has failed.
    #[arg(long)]
    everywhere: bool,

    #[command(flatten)]
    own: OwnKernelOptions,
}

/// An item of `--places`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PlaceArgument {
    Here,
    All,
    Vm(VmChoice),
    /// A name that the configuration defines.
    Named(String),
}

impl FromStr for PlaceArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_name = !text.is_empty() && text.chars().all(is_letter);
        match (text, text.strip_prefix("vm:")) {
            ("here", _) => Ok(Self::Here),
            ("all", _) => Ok(Self::All),
            (_, Some(kernel)) => match kernel.parse::<KernelChoice>() {
                Ok(kernel) => Ok(Self::Vm(kernel.into())),
                Err(error) => Err(error.to_string()),
            },
            _ if is_name => Ok(Self::Named(text.to_owned())),
            _ => Err(EXPECTED.to_owned()),
        }
    }
}

const EXPECTED: &str = "expected here, all, a name from [places] in the configuration, or vm:KERNEL, where \
                        KERNEL is a version, such as 6.12, or a suite, such as trixie";

/// Returns one VM: `vm:KERNEL`, or a name that the configuration defines.
///
/// # Errors
/// If the place is another.
pub(super) fn vm_of(place: &str, named: &BTreeMap<String, NamedPlace>) -> Result<VmChoice> {
    let options = PlaceOptions {
        places: vec![place.parse().map_err(anyhow::Error::msg)?],
        ..PlaceOptions::default()
    };
    match options.with_names(named)?.places.as_slice() {
        [PlaceArgument::Vm(vm)] => Ok(vm.clone()),
        _ => bail!(
            "{place:?} is not one place: expected here, sudo, a name from [places] in the \
             configuration, or vm:KERNEL, where KERNEL is a version, such as 6.12, or a suite, such as \
             trixie"
        ),
    }
}

/// The VMs that are places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmPlaces {
    /// Whether the default set is wanted.
    pub all: bool,
    /// The others.
    pub vms: Vec<VmChoice>,
}

impl PlaceOptions {
    /// Makes `all` the default instead of `here`.
    pub fn default_to_all(&mut self) {
        if self.places.is_empty() {
            self.places.push(PlaceArgument::All);
        }
    }

    /// Replaces the names that the configuration defines by the places that they stand for.
    ///
    /// # Errors
    /// If the configuration does not define a name, or its place has an unknown suite.
    pub fn with_names(mut self, named: &BTreeMap<String, NamedPlace>) -> Result<Self> {
        for place in &mut self.places {
            let PlaceArgument::Named(name) = place else {
                continue;
            };
            let Some(definition) = named.get(name) else {
                bail!("unknown place {name:?}: {EXPECTED}");
            };
            *place = PlaceArgument::Vm(VmChoice::named(name, definition)?);
        }
        Ok(self)
    }

    /// Returns in how many places each test runs.
    pub fn spread(&self) -> Spread {
        match self.everywhere {
            true => Spread::Everywhere,
            false => Spread::First,
        }
    }

    /// Says whether tests may run here.
    pub fn has_here(&self) -> bool {
        let is_default = self.places.is_empty() && !self.own.is_given();
        is_default || self.has(&PlaceArgument::Here)
    }

    /// Says whether tests may run in other places.
    pub fn has_others(&self) -> bool {
        self.uses_sudo()
            || self.own.is_given()
            || self
                .places
                .iter()
                .any(|place| *place != PlaceArgument::Here)
    }

    /// Returns the places, whose names [`with_names`](Self::with_names) has replaced. Provides the
    /// artifacts of VMs first, with `offline` from the cache only.
    ///
    /// # Errors
    /// If artifacts cannot be fetched or built.
    pub fn candidates(&self, offline: bool) -> Result<Vec<CandidatePlace>> {
        for place in &self.places {
            if let PlaceArgument::Named(name) = place {
                bail!("unknown place {name:?}: {EXPECTED}");
            }
        }
        if self.everywhere && !self.has_others() {
            eprintln!(
                "--everywhere has no effect: this host is the only place; --places adds others"
            );
        }
        let mut candidates = Vec::new();
        if self.has_here() {
            candidates.push(CandidatePlace::Here);
        }
        if self.uses_sudo() {
            candidates.push(CandidatePlace::Place(Box::new(SudoPlace::new()?)));
        }
        let vms = self.vms();
        if vms != VmPlaces::default() {
            for place in provision::vm_places(&vms, offline)? {
                let with_kvm = place.with_kvm();
                candidates.push(CandidatePlace::Place(Box::new(place)));
                candidates.push(CandidatePlace::Place(Box::new(with_kvm)));
            }
        }
        Ok(candidates)
    }

    /// Returns the VMs.
    pub(super) fn vms(&self) -> VmPlaces {
        let named = self.places.iter().filter_map(|place| match place {
            PlaceArgument::Vm(vm) => Some(vm.clone()),
            _ => None,
        });
        let mut vms = VmPlaces {
            all: self.places.contains(&PlaceArgument::All),
            vms: Vec::new(),
        };
        for vm in named.chain(self.own.vm()) {
            if !vms.vms.contains(&vm) {
                vms.vms.push(vm);
            }
        }
        vms
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
        let vm = |text: &str| PlaceArgument::Vm(text.parse::<KernelChoice>().unwrap().into());
        assert_eq!("vm:trixie".parse(), Ok(vm("trixie")));
        assert_eq!("vm:6.12+generic".parse(), Ok(vm("6.12+generic")));
        assert_eq!("all".parse(), Ok(PlaceArgument::All));
        assert_eq!("old".parse(), Ok(PlaceArgument::Named("old".into())));
        for unknown in ["", "a b", "vm:", "vm:6", "vm:../x"] {
            let problem = unknown.parse::<PlaceArgument>().unwrap_err();
            assert!(problem.contains("trixie"), "{problem}");
        }
    }

    #[test]
    fn names_of_the_configuration_are_replaced() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(".config")).unwrap();
        let text = "[places.old]\nsuite = 'bookworm'\n";
        std::fs::write(root.path().join(".config/kata-test.toml"), text).unwrap();
        let named = kata_test_runner::Config::load(root.path()).unwrap().places;
        let options = |names: &[&str]| PlaceOptions {
            places: names.iter().map(|name| name.parse().unwrap()).collect(),
            ..PlaceOptions::default()
        };
        let replaced = options(&["here", "old"]).with_names(&named).unwrap();
        let expected = [
            PlaceArgument::Here,
            PlaceArgument::Vm("bookworm".parse::<KernelChoice>().unwrap().into()),
        ];
        assert_eq!(replaced.places, expected);

        let problem = |name| options(&[name]).with_names(&named).unwrap_err().to_string();
        assert!(problem("there").starts_with("unknown place \"there\": expected here"));
        assert!(
            options(&["old"]).candidates(true).is_err(),
            "the name is not replaced"
        );
    }
}
