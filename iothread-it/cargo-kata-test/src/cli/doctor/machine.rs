//! What the checks are made of.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result};
use guest_vm::artifacts::{
    LOCK_FILE, PackageSource, Pins, QemuSource, Store, apt::archive_suite, free_space, qemu_source,
};
use guest_vm::cache::{Cache, EntryKind};
use kata_test::facts::{Here, Host};
use kata_test_runner::{Config, Place as _, SudoPlace, UsernsPlace, configured_runner};
use rustix::fs::{Access, access};

use super::super::places::QemuOption;
use super::super::{cargo, message, provision, store};
use super::variables::PREFIX;
use crate::place::vms_that_fit;

/// A machine. An error is its whole message.
pub(super) struct Machine<'a> {
    /// Its facts.
    pub(super) host: &'a dyn Host,
    pub(super) is_root: bool,
    /// What root in a user namespace is here.
    pub(super) userns: Result<String, String>,
    pub(super) sudo: Result<(), String>,
    /// Whether VMs are supported on this kind of machine.
    pub(super) vms: Result<(), String>,
    /// The suite that packages would be fetched from.
    pub(super) packages: Result<String, String>,
    pub(super) qemu: Result<Qemu, String>,
    pub(super) cache: Result<CacheState, String>,
    /// How many VMs fit into all of its memory.
    pub(super) fitting_vms: usize,
    /// The variables of a proxy that are set: names only, since a value may have a password.
    pub(super) proxies: Vec<String>,
    /// The variables of ours that are set.
    pub(super) variables: Vec<(String, String)>,
    /// Where a target runner is configured.
    pub(super) runner: Option<String>,
}

/// The QEMU that VMs would have.
#[derive(Debug)]
pub(super) enum Qemu {
    /// An installed one: its version and program.
    Installed(String, PathBuf),
    /// That of packages: of which suite if it is chosen, and why not the one on `PATH`.
    Packages(Option<String>, Option<String>),
}

/// The cache.
#[derive(Debug)]
pub(super) struct CacheState {
    pub(super) folder: PathBuf,
    /// Why it cannot be written.
    pub(super) problem: Option<String>,
    pub(super) bytes: u64,
    pub(super) limit: u64,
    /// The free space of its file system in bytes.
    pub(super) free: u64,
    pub(super) kernels: usize,
    /// Whether it has a QEMU from packages.
    pub(super) has_qemu: bool,
}

impl Machine<'static> {
    /// Looks at this machine, from the working directory.
    pub(super) fn this() -> Result<Self> {
        let current = std::env::current_dir().context("the working directory does not exist")?;
        // Outside of a workspace there is one less thing that could be configured.
        let root = cargo::workspace_root().unwrap_or_else(|_| current.clone());
        let config = Config::load(&root).map_err(Error::new);
        let source = source(&root);
        let archive = source.as_ref().map(|source| source.archive.as_ref());
        let packages = match archive {
            Ok(archive) => archive_suite(archive).map_err(shown),
            Err(error) => Err(message(error)),
        };
        let qemu = match (&config, source) {
            (Ok(config), Ok(source)) => qemu(config, &root, &source),
            (Err(error), _) => Err(message(error)),
            (_, Err(error)) => Err(message(&error)),
        };
        // apt(1) reads these, and none in capitals.
        let proxies = variables(|name| ["http_proxy", "https_proxy"].contains(&name)).into_iter();
        Ok(Self {
            host: &Here,
            is_root: nix::unistd::geteuid().is_root(),
            userns: UsernsPlace::new(&Config::default())
                .map(|place| place.about())
                .map_err(shown),
            sudo: SudoPlace::new().map(drop).map_err(shown),
            vms: provision::check_host().map_err(|error| error.to_string()),
            packages,
            qemu,
            cache: Store::of_user()
                .map(|store| CacheState::of(&store))
                .map_err(shown),
            fitting_vms: vms_that_fit(),
            proxies: proxies.map(|(name, _)| name).collect(),
            variables: variables(|name| name.starts_with(PREFIX)),
            runner: configured_runner(&current),
        })
    }
}

impl Machine<'_> {
    /// Returns the places, and whether tests can run there.
    pub(super) fn places(&self) -> Vec<(&'static str, bool)> {
        let builds = self.cargo().is_ok();
        let vm = self.vms.is_ok() && self.builds_agent() && self.has_files() && self.has_room();
        [
            ("here", builds),
            ("userns", builds && self.userns.is_ok()),
            ("sudo", builds && self.sudo.is_ok()),
            ("vm:…", builds && vm),
            ("vm:…+kvm", builds && vm),
        ]
        .into_iter()
        // Root needs no sudo.
        .filter(|(name, _)| !(self.is_root && *name == "sudo"))
        .collect()
    }

    /// Whether QEMU and a kernel are there or can be fetched.
    fn has_files(&self) -> bool {
        let cache = self.cache.as_ref().ok();
        let fetches = self.packages.is_ok() && self.has_network();
        let has_kernel = cache.is_some_and(|cache| cache.kernels > 0);
        let has_qemu = match &self.qemu {
            Ok(Qemu::Installed(..)) => true,
            Ok(Qemu::Packages(..)) => fetches || cache.is_some_and(|cache| cache.has_qemu),
            Err(_) => false,
        };
        has_qemu && (fetches || has_kernel)
    }

    /// Whether the cache has a VM or takes one.
    fn has_room(&self) -> bool {
        let takes = |cache: &CacheState| cache.has_vm() || cache.lack_of_space().is_none();
        self.cache
            .as_ref()
            .is_ok_and(|cache| cache.problem.is_none() && takes(cache))
    }
}

/// Where packages come from, by the environment, the configuration and the lock file.
fn source(root: &Path) -> Result<PackageSource> {
    Ok(PackageSource {
        archive: store::archive(root)?,
        pins: Pins::read(&root.join(LOCK_FILE))?,
        ..PackageSource::default()
    })
}

fn qemu(config: &Config, root: &Path, source: &PackageSource) -> Result<Qemu, String> {
    let choice = QemuOption::default().or_configured(config, root);
    let choice = choice.map_err(|error| message(&error))?;
    match qemu_source(&choice, source).map_err(shown)? {
        QemuSource::Installed(qemu) => Ok(Qemu::Installed(qemu.version, qemu.program)),
        QemuSource::Packages { suite, useless } => Ok(Qemu::Packages(suite, useless.map(shown))),
    }
}

impl CacheState {
    fn of(store: &Store) -> Self {
        let cache = Cache::read(store);
        let has = |set: &str| {
            let packages = cache
                .entries()
                .iter()
                .filter(|one| one.kind == EntryKind::Packages);
            packages.filter(|one| one.name.starts_with(set)).count()
        };
        let folder = store.base();
        // It may not exist yet.
        let existing = folder.ancestors().find(|path| path.exists());
        let existing = existing.unwrap_or(folder);
        let denied = access(existing, Access::WRITE_OK | Access::EXEC_OK).err();
        Self {
            problem: denied
                .map(|errno| format!("{} cannot be written: {errno}", existing.display())),
            bytes: cache.bytes(),
            limit: store.limit(),
            free: free_space(folder).unwrap_or(0),
            kernels: has("kernel"),
            has_qemu: has("qemu-") > 0,
            folder: folder.to_owned(),
        }
    }
}

/// The variables with such names that are not empty.
fn variables(is_wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let text = |text: &OsStr| text.to_string_lossy().into_owned();
    let all = std::env::vars_os().map(|(name, value)| (text(&name), text(&value)));
    let mut found: Vec<_> = all
        .filter(|(name, value)| is_wanted(name) && !value.is_empty())
        .collect();
    found.sort();
    found
}

/// An error with its causes in one line.
fn shown(error: impl std::error::Error + Send + Sync + 'static) -> String {
    message(&Error::new(error))
}
