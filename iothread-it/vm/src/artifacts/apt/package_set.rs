//! Provides a set of packages as an unpacked directory, doing only the work that is left.

use std::path::{Path, PathBuf};

use super::super::progress::Progress;
use super::super::store::{StoreLock, at, write_atomically};
use super::archive::Archive;
use super::closure::{Closure, Package};
use super::error::AptError;
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

/// Provides a set from the host's release or from another suite of the same archive.
pub(crate) fn ensure(
    lock: &StoreLock,
    suite: Option<&str>,
    set: &PackageSet,
    progress: &mut dyn Progress,
) -> Result<Unpacked, AptError> {
    let release = host_sources::release_name();
    let label = suite.or(release.as_deref()).unwrap_or("host").to_owned();
    let sources = || {
        let all = host_sources::sources()?;
        let release = release.as_deref().unwrap_or_default();
        Ok(match suite {
            Some(suite) if suite != release => of_suite(&all, release, suite),
            _ => of_release(&all, release),
        })
    };
    PackageInstall {
        lock,
        set,
        suite: label,
    }
    .run(sources, progress)
}

/// A set to provide from a suite.
pub(super) struct PackageInstall<'a> {
    pub(super) lock: &'a StoreLock,
    pub(super) set: &'a PackageSet,
    pub(super) suite: String,
}

impl PackageInstall<'_> {
    /// Does the work that is left. Calls `sources` and apt only if packages are missing.
    pub(super) fn run(
        &self,
        sources: impl FnOnce() -> Result<Vec<Source>, AptError>,
        progress: &mut dyn Progress,
    ) -> Result<Unpacked, AptError> {
        let known = self.read_index();
        let intact = known.and_then(|closure| self.unpacked(&closure, progress));
        let (directory, stamp) = match intact {
            Some(intact) => intact,
            None => {
                let closure = match self.downloaded(progress)? {
                    Some(closure) => closure,
                    None => self.download(&sources()?, progress)?,
                };
                let directory = self.directory_of(&closure);
                let stamp = unpack(self.lock, &closure, &directory, self.set.check, progress)?;
                downloads::remove(&closure, &self.lock.downloads())?;
                (directory, stamp)
            }
        };
        self.lock.hold(&directory)?;
        Ok(Unpacked {
            root: directory.join("root"),
            finding: stamp.finding,
            closure: stamp.closure,
            suite: self.suite.clone(),
        })
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

    /// Returns the closure of an earlier run if all of its packages are downloaded, but not unpacked.
    fn downloaded(&self, progress: &mut dyn Progress) -> Result<Option<Closure>, AptError> {
        let Some(closure) = self.read_index() else {
            return Ok(None);
        };
        let all: Vec<_> = closure.packages().iter().collect();
        let complete = !all.is_empty()
            && downloads::to_fetch(&all, &self.lock.downloads(), progress)?.is_empty();
        Ok(complete.then_some(closure))
    }

    fn download(
        &self,
        sources: &[Source],
        progress: &mut dyn Progress,
    ) -> Result<Closure, AptError> {
        let state = self.index_directory().join("apt");
        let mut archive = Archive::open(&self.suite, sources, &state, &self.lock.downloads())?;
        archive.refresh(progress)?;
        let closure = archive.closure(self.set.candidates, self.set.needs)?;
        let path = self.index_file();
        let text = serde_json::to_vec(&closure).map_err(|error| at(&path)(error.into()))?;
        write_atomically(&path, &text).map_err(at(&path))?;
        archive.fetch(&closure, progress)?;
        Ok(closure)
    }

    fn directory_of(&self, closure: &Closure) -> PathBuf {
        let name = format!("{}-{}-{}", self.set.name, self.suite, closure.key());
        self.lock.store().packages().join(name)
    }

    fn index_directory(&self) -> PathBuf {
        let indices = self.lock.store().base().join("indices");
        indices.join("host").join(&self.suite)
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
