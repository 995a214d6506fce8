//! Provides a set of packages as an unpacked directory, doing only the work that is left.

use std::path::{Path, PathBuf};

use super::super::debian_archive::DebianArchive;
use super::super::kernels::KernelOffer;
use super::super::package_source::PackageSource;
use super::super::progress::Progress;
use super::super::store::{Store, StoreLock, at, write_atomically};
use super::archive::Archive;
use super::closure::{Closure, Package};
use super::error::AptError;
use super::kernels::sources_of;
use super::sources::{Source, of_release, of_suite};
use super::stamp::{Stamp, State};
use super::unpack::unpack;
use super::{downloads, host_sources};

/// Packages that are unpacked together.
pub(crate) struct PackageSet {
    /// Name of the set and of its directory.
    pub(crate) name: &'static str,
    /// Alternative packages, the preferred one first.
    pub(crate) candidates: &'static [&'static str],
    /// Returns whether a package of the closure is needed.
    pub(crate) needs: fn(&Package) -> bool,
    /// Checks the unpacked directory and returns a finding, such as a version.
    pub(crate) check: fn(&Path) -> Result<String, AptError>,
}

/// An unpacked set.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// The root directory.
    pub(crate) root: PathBuf,
    /// The finding of the check.
    pub(crate) finding: String,
    /// The packages.
    pub(crate) closure: Closure,
    /// Their suite.
    pub(crate) suite: String,
}

/// Provides a set from another suite, or from the archive's own: the host's release, or the first suite of
/// an archive that the user names.
pub(crate) fn ensure(
    lock: &StoreLock,
    suite: Option<&str>,
    set: &PackageSet,
    progress: &mut dyn Progress,
) -> Result<Unpacked, AptError> {
    let source = lock.store().source();
    let archive = source.archive.as_ref();
    let label = suite.map_or_else(|| own_suite(archive), str::to_owned);
    let sources = || sources(archive, suite, &label);
    let install = PackageInstall {
        lock,
        set,
        suite: label.clone(),
        fixed: pinned(source, set, &label)?.map(Fixed::Pinned),
    };
    install.run(sources, progress)
}

/// Provides the packages of a kernel that the archive was found to have.
pub(crate) fn ensure_offer(
    lock: &StoreLock,
    offer: &KernelOffer,
    set: &PackageSet,
    progress: &mut dyn Progress,
) -> Result<Unpacked, AptError> {
    let source = lock.store().source();
    let sources = || {
        let sources = sources_of(&offer.sources, source.archive.as_ref())?;
        match sources.is_empty() {
            true => Err(AptError::NoSource(offer.suite.clone())),
            false => Ok(sources),
        }
    };
    let install = PackageInstall {
        lock,
        set,
        suite: offer.suite.clone(),
        fixed: Some(match source.pins {
            Some(_) => Fixed::Pinned(offer.packages.clone()),
            None => Fixed::Found(offer.packages.clone()),
        }),
    };
    install.run(sources, progress)
}

/// Returns the suite that packages of the archive's own would be fetched from. Nothing is fetched.
///
/// # Errors
/// If apt is not installed, or has no source for it.
pub fn archive_suite(archive: Option<&DebianArchive>) -> Result<String, AptError> {
    let suite = own_suite(archive);
    match sources(archive, None, &suite)?.is_empty() {
        true => Err(AptError::NoSource(suite)),
        false => Ok(suite),
    }
}

/// Returns the name of the archive's own suite.
fn own_suite(archive: Option<&DebianArchive>) -> String {
    let own = match archive {
        Some(archive) => archive.suites().first().cloned(),
        None => host_sources::release_name(),
    };
    own.unwrap_or_else(|| "host".to_owned())
}

fn sources(
    archive: Option<&DebianArchive>,
    suite: Option<&str>,
    label: &str,
) -> Result<Vec<Source>, AptError> {
    match archive {
        Some(archive) => configured(archive, label),
        None => of_host(suite),
    }
}

fn of_host(suite: Option<&str>) -> Result<Vec<Source>, AptError> {
    let release = host_sources::release_name().unwrap_or_default();
    let release = release.as_str();
    let all = host_sources::sources()?;
    Ok(match suite {
        Some(suite) if suite != release => of_suite(&all, release, suite),
        _ => of_release(&all, release),
    })
}

/// Returns the source of an archive that the user names. Its package lists must be signed by a key in its
/// keyring, not by one that the host trusts.
pub(super) fn configured(archive: &DebianArchive, suite: &str) -> Result<Vec<Source>, AptError> {
    host_sources::check_programs()?;
    if !archive.suites().iter().any(|known| known == suite) {
        return Err(AptError::NoSuite {
            suite: suite.to_owned(),
            url: archive.url().to_owned(),
            suites: archive.suites().to_vec(),
        });
    }
    let keyring = archive.keyring().to_string_lossy().into_owned();
    Ok(vec![Source {
        uris: vec![archive.url().to_owned()],
        suites: vec![suite.to_owned()],
        components: vec!["main".to_owned()],
        options: vec![("signed-by".to_owned(), keyring)],
    }])
}

/// Returns whether the packages of an offer are unpacked in the cache.
pub(crate) fn has_offer(store: &Store, offer: &KernelOffer, set: &PackageSet) -> bool {
    let directory = directory_of(store, set.name, &offer.suite, &offer.packages);
    matches!(Stamp::check(&directory), State::Intact(_))
}

fn directory_of(store: &Store, set: &str, suite: &str, closure: &Closure) -> PathBuf {
    let name = format!("{set}-{suite}-{}", closure.key());
    store.packages().join(name)
}

/// Returns the name of the folder for what is known of the archive.
pub(super) fn archive_id(lock: &StoreLock) -> &str {
    let archive = lock.store().source().archive.as_ref();
    archive.map_or("host", DebianArchive::id)
}

/// Returns the packages that the lock file pins, if there is one.
fn pinned(
    source: &PackageSource,
    set: &PackageSet,
    suite: &str,
) -> Result<Option<Closure>, AptError> {
    let Some(pins) = &source.pins else {
        return Ok(None);
    };
    let closure = pins.find(set.name, suite).cloned();
    closure.map(Some).ok_or_else(|| AptError::NotPinned {
        set: set.name,
        suite: suite.to_owned(),
    })
}

/// A set to provide from a suite.
pub(super) struct PackageInstall<'a> {
    pub(super) lock: &'a StoreLock,
    pub(super) set: &'a PackageSet,
    pub(super) suite: String,
    /// The only packages that may be used.
    pub(super) fixed: Option<Fixed>,
}

/// Packages whose versions are known before apt is run.
pub(super) enum Fixed {
    /// By the lock file.
    Pinned(Closure),
    /// By an earlier search in the archive.
    Found(Closure),
}

impl PackageInstall<'_> {
    /// Does the work that is left. Calls `sources` and apt only if packages are missing.
    pub(super) fn run(
        &self,
        sources: impl FnOnce() -> Result<Vec<Source>, AptError>,
        progress: &mut dyn Progress,
    ) -> Result<Unpacked, AptError> {
        let known = self.known();
        let intact = known
            .as_ref()
            .and_then(|closure| self.unpacked(closure, progress));
        let (directory, stamp) = match intact {
            Some(intact) => intact,
            None => self.unpack_missing(known, sources, progress)?,
        };
        self.lock.hold(&directory)?;
        self.lock
            .note_provided(self.set.name, &self.suite, &stamp.closure);
        Ok(Unpacked {
            root: directory.join("root"),
            finding: stamp.finding,
            closure: stamp.closure,
            suite: self.suite.clone(),
        })
    }

    /// Returns the packages to use if that is known without the archive.
    fn known(&self) -> Option<Closure> {
        match &self.fixed {
            Some(Fixed::Pinned(closure) | Fixed::Found(closure)) => Some(closure.clone()),
            None if self.lock.store().source().fresh => None,
            None => self.read_index(),
        }
    }

    fn unpack_missing(
        &self,
        known: Option<Closure>,
        sources: impl FnOnce() -> Result<Vec<Source>, AptError>,
        progress: &mut dyn Progress,
    ) -> Result<(PathBuf, Stamp), AptError> {
        let mut closure = known;
        if !self.are_downloaded(closure.as_ref(), progress)? {
            if self.lock.store().is_offline() {
                return Err(AptError::Offline {
                    set: self.set.name,
                    suite: self.suite.clone(),
                    cache: self.lock.store().base().into(),
                });
            }
            closure = Some(self.download(&sources()?, progress)?);
        }
        let closure = closure.unwrap_or_default();
        let directory = self.directory_of(&closure);
        // The archive may still have the versions that are unpacked already.
        if let State::Intact(stamp) = Stamp::check(&directory) {
            return Ok((directory, stamp));
        }
        let stamp = unpack(self.lock, &closure, &directory, self.set.check, progress)?;
        downloads::remove(&closure, &self.lock.downloads())?;
        Ok((directory, stamp))
    }

    /// Returns the directory of unpacked packages if it is intact.
    fn unpacked(&self, closure: &Closure, progress: &mut dyn Progress) -> Option<(PathBuf, Stamp)> {
        let directory = self.directory_of(closure);
        match Stamp::check(&directory) {
            State::Intact(stamp) => Some((directory, stamp)),
            State::Absent => None,
            State::Damaged(fault) => {
                let name = self.set.name;
                progress.noted(&format!(
                    "the unpacked {name} of {} is damaged: {fault}",
                    self.suite
                ));
                None
            }
        }
    }

    /// Returns whether all packages are downloaded, but not unpacked.
    fn are_downloaded(
        &self,
        closure: Option<&Closure>,
        progress: &mut dyn Progress,
    ) -> Result<bool, AptError> {
        let packages = closure.map(Closure::packages).unwrap_or_default();
        let all: Vec<_> = packages.iter().collect();
        Ok(!all.is_empty()
            && downloads::to_fetch(&all, &self.lock.downloads(), progress)?.is_empty())
    }

    fn download(
        &self,
        sources: &[Source],
        progress: &mut dyn Progress,
    ) -> Result<Closure, AptError> {
        let state = self.index_directory().join("apt");
        let mut archive = Archive::open(&self.suite, sources, &state, &self.lock.downloads())?;
        match &self.fixed {
            None => archive.refresh(progress)?,
            Some(Fixed::Found(found)) => {
                archive.refresh(progress)?;
                archive.fetch(found, progress)?;
                return Ok(found.clone());
            }
            Some(Fixed::Pinned(pinned)) => {
                // One of the suites may be gone, and the packages be in another one.
                let updated = archive.refresh(progress);
                let fetched = archive.fetch(pinned, progress);
                return match (fetched, updated) {
                    (Ok(()), _) => Ok(pinned.clone()),
                    (Err(_), Err(source)) | (Err(source), Ok(())) => Err(AptError::PinnedGone {
                        set: self.set.name,
                        suite: self.suite.clone(),
                        source: Box::new(source),
                    }),
                };
            }
        }
        let closure = archive.closure(self.set.candidates, self.set.needs)?;
        let path = self.index_file();
        let text = serde_json::to_vec(&closure).map_err(|error| at(&path)(error.into()))?;
        write_atomically(&path, &text).map_err(at(&path))?;
        if !matches!(Stamp::check(&self.directory_of(&closure)), State::Intact(_)) {
            archive.fetch(&closure, progress)?;
        }
        Ok(closure)
    }

    fn directory_of(&self, closure: &Closure) -> PathBuf {
        directory_of(self.lock.store(), self.set.name, &self.suite, closure)
    }

    fn index_directory(&self) -> PathBuf {
        let indices = self.lock.store().base().join("indices");
        indices.join(archive_id(self.lock)).join(&self.suite)
    }

    fn index_file(&self) -> PathBuf {
        self.index_directory()
            .join(format!("{}.json", self.set.name))
    }

    /// Returns the closure that was last found in the archive. If the file is damaged, apt is asked again.
    fn read_index(&self) -> Option<Closure> {
        let text = std::fs::read(self.index_file()).ok()?;
        serde_json::from_slice(&text).ok()
    }
}
