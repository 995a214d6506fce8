//! The options `--places` and `--sudo`.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use guest_vm::artifacts::{KernelChoice, QemuChoice};
use kata_test_runner::{CandidatePlace, Config, KVM_SUFFIX, Spread, SudoPlace, UsernsPlace};

use super::provision;
use super::vm_choice::{OwnKernelOptions, VmChoice};

/// Options that select places.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PlaceOptions {
    /// Where tests may run, separated by commas: `here`; `userns`, this host as root in a user namespace, for
    /// tests that accept this instead of root; `vm:VERSION`, a VM with the newest kernel of that
    /// line in the distribution's archive, such as `vm:6.12`; `vm:SUITE`, with the kernel of a suite, such as
    /// `vm:trixie`; a name from the configuration; or `all`, which is `here`, `userns` if this
    /// user is not root and this host has it, a VM for each kernel with long-term support (that of each stable
    /// release), and one for the newest. With `+generic`, as in
    /// `vm:6.12+generic`, the kernel is the one for all machines instead of the one for clouds. `cargo
    /// kata-test facts --places` lists what there is. The first use of a VM downloads QEMU and the kernel from the
    /// distribution's packages. Default: `here`, or with `--kernel`, the place with that kernel.
    #[arg(long, value_delimiter = ',', value_name = "PLACES")]
    places: Vec<PlaceArgument>,

    #[command(flatten)]
    qemu: QemuOption,

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

/// The option `--qemu`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct QemuOption {
    /// The QEMU of VMs: `auto` (the one on PATH if it is 7.2 or newer, else that of the packages of this
    /// host's release), `host` (the one on PATH), `suite:NAME` (that of a suite of the distribution, such as
    /// `suite:trixie`), or a path. Default: `qemu` of `[vms]` in the configuration, or `auto`.
    #[arg(long, value_name = "QEMU")]
    qemu: Option<QemuChoice>,
}

impl QemuOption {
    /// Returns the option, or what the configuration of the workspace at `root` has instead.
    ///
    /// # Errors
    /// If the configuration has an invalid one.
    pub(super) fn or_configured(&self, config: &Config, root: &Path) -> Result<QemuChoice> {
        let chosen = match (&self.qemu, &config.qemu) {
            (Some(option), _) => option.clone(),
            (None, Some(text)) => match text.parse().context("[vms] has an invalid qemu")? {
                QemuChoice::Path(path) => QemuChoice::Path(root.join(path)),
                choice => choice,
            },
            (None, None) => QemuChoice::Auto,
        };
        Ok(match chosen {
            QemuChoice::Path(path) => QemuChoice::Path(std::path::absolute(path)?),
            choice => choice,
        })
    }
}

/// An item of `--places`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PlaceArgument {
    Here,
    Userns,
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
            ("userns", _) => Ok(Self::Userns),
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

const EXPECTED: &str = "expected here, userns, all, a name from [places] in the configuration, or vm:KERNEL, where \
                        KERNEL is a version, such as 6.12, or a suite, such as trixie";

/// Returns one VM, and whether it has KVM: `vm:KERNEL`, or a name that the configuration defines, and `+kvm`.
///
/// # Errors
/// If the place is another.
pub(super) fn vm_of(text: &str, config: &Config) -> Result<(VmChoice, bool)> {
    let plain = text.strip_suffix(KVM_SUFFIX);
    let place: PlaceArgument = plain.unwrap_or(text).parse().map_err(anyhow::Error::msg)?;
    match place.resolved(config)? {
        PlaceArgument::Vm(vm) => Ok((vm, plain.is_some())),
        _ => bail!(
            "{text:?} is not one place: expected here, sudo, userns, a name from [places] in the \
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
    /// Their QEMU.
    pub qemu: QemuChoice,
}

impl VmPlaces {
    /// Says whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && self.vms.is_empty()
    }
}

impl PlaceArgument {
    /// Replaces a name of the configuration by the place that it stands for.
    fn resolved(self, config: &Config) -> Result<Self> {
        let Self::Named(name) = self else {
            return Ok(self);
        };
        let Some(definition) = config.places.get(&name) else {
            bail!("unknown place {name:?}: {EXPECTED}");
        };
        Ok(Self::Vm(VmChoice::named(&name, definition)?))
    }
}

impl PlaceOptions {
    /// Makes `all` the default instead of `here`.
    pub fn default_to_all(&mut self) {
        if self.places.is_empty() {
            self.places.push(PlaceArgument::All);
        }
    }

    /// Adds what the configuration of the workspace at `root` says: the places that its names stand for, and
    /// the QEMU.
    ///
    /// # Errors
    /// If the configuration does not define a name, or a place has an unknown suite, or the QEMU is invalid.
    pub fn with_config(&self, config: &Config, root: &Path) -> Result<Self> {
        let qemu = QemuOption {
            qemu: Some(self.qemu.or_configured(config, root)?),
        };
        let places = self.places.iter().cloned();
        let places = places.map(|place| place.resolved(config));
        Ok(Self {
            places: places.collect::<Result<_>>()?,
            qemu,
            ..self.clone()
        })
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

    /// Returns the places, to which [`with_config`](Self::with_config) has added the configuration. Provides
    /// the artifacts of VMs first, with `offline` from the cache only.
    ///
    /// # Errors
    /// If artifacts cannot be fetched or built, or a place that is named cannot be used.
    pub fn candidates(&self, config: &Config, offline: bool) -> Result<Vec<CandidatePlace>> {
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
        candidates.extend(self.userns(config)?);
        if self.uses_sudo() {
            candidates.push(CandidatePlace::Place(Box::new(SudoPlace::new()?)));
        }
        let vms = self.vms();
        if !vms.is_empty() {
            for place in provision::vm_places(&vms, offline)? {
                let with_kvm = place.with_kvm();
                candidates.push(CandidatePlace::Place(Box::new(place)));
                candidates.push(CandidatePlace::Place(Box::new(with_kvm)));
            }
        }
        Ok(candidates)
    }

    /// Returns root in a user namespace. If it is not named, and this host does not have it, that is only told.
    fn userns(&self, config: &Config) -> Result<Option<CandidatePlace>> {
        let is_named = self.places.contains(&PlaceArgument::Userns);
        let is_root = nix::unistd::geteuid().is_root();
        if !is_named && (is_root || !self.has(&PlaceArgument::Userns)) {
            return Ok(None);
        }
        match UsernsPlace::new(config) {
            Ok(place) => Ok(Some(CandidatePlace::Place(Box::new(place)))),
            Err(error) if is_named => Err(error.into()),
            Err(error) => {
                eprintln!("{:#}", anyhow::Error::new(error));
                Ok(None)
            }
        }
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
            qemu: self.qemu(),
        };
        for vm in named.chain(self.own.vm()) {
            if !vms.vms.contains(&vm) {
                vms.vms.push(vm);
            }
        }
        vms
    }

    /// Returns the QEMU of VMs.
    #[must_use]
    pub fn qemu(&self) -> QemuChoice {
        self.qemu.qemu.clone().unwrap_or_default()
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
        assert_eq!("userns".parse(), Ok(PlaceArgument::Userns));
        assert_eq!("old".parse(), Ok(PlaceArgument::Named("old".into())));
        for unknown in ["", "a b", "vm:", "vm:6", "vm:../x"] {
            let problem = unknown.parse::<PlaceArgument>().unwrap_err();
            assert!(problem.contains("trixie"), "{problem}");
        }
    }

    fn config(text: &str) -> (tempfile::TempDir, Config) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(".config")).unwrap();
        std::fs::write(root.path().join(".config/kata-test.toml"), text).unwrap();
        let config = Config::load(root.path()).unwrap();
        (root, config)
    }

    #[test]
    fn names_of_the_configuration_are_replaced() {
        let (root, config) = config("[places.old]\nsuite = 'bookworm'\n");
        let options = |names: &[&str]| PlaceOptions {
            places: names.iter().map(|name| name.parse().unwrap()).collect(),
            ..PlaceOptions::default()
        };
        let configured = |names: &[&str]| options(names).with_config(&config, root.path());
        let expected = [
            PlaceArgument::Here,
            PlaceArgument::Vm("bookworm".parse::<KernelChoice>().unwrap().into()),
        ];
        assert_eq!(configured(&["here", "old"]).unwrap().places, expected);

        let problem = configured(&["there"]).unwrap_err().to_string();
        assert!(problem.starts_with("unknown place \"there\": expected here"));
        assert!(
            options(&["old"]).candidates(&config, true).is_err(),
            "the name is not replaced"
        );
    }

    #[test]
    fn the_option_comes_before_the_configuration() {
        let qemu = |option: Option<&str>, text: &str| {
            let (root, config) = config(text);
            let options = PlaceOptions {
                qemu: QemuOption {
                    qemu: option.map(|text| text.parse().unwrap()),
                },
                places: vec!["vm:6.12".parse().unwrap()],
                ..PlaceOptions::default()
            };
            let chosen = options.with_config(&config, root.path())?.vms().qemu;
            anyhow::Ok(
                chosen
                    .to_string()
                    .replace(&*root.path().to_string_lossy(), "ROOT"),
            )
        };
        let own = "[vms]\nqemu = 'suite:sid'";
        assert_eq!(qemu(None, "").unwrap(), "auto");
        assert_eq!(qemu(None, own).unwrap(), "suite:sid");
        assert_eq!(qemu(Some("suite:trixie"), own).unwrap(), "suite:trixie");
        assert_eq!(qemu(Some("auto"), own).unwrap(), "auto");
        assert_eq!(qemu(None, "[vms]\nqemu = './qemu'").unwrap(), "ROOT/qemu");
        assert!(qemu(Some("./qemu"), own).unwrap().starts_with('/'));
        let error = format!("{:#}", qemu(None, "[vms]\nqemu = 'sid'").unwrap_err());
        assert!(
            error.starts_with("[vms] has an invalid qemu: `sid` is not a choice of QEMU; expected"),
            "{error}"
        );
    }
}
