//! Finds the suites that an archive has, and the kernels in them.
//!
//! 1. The names of releases follow from their roles, such as `stable`, and those of their additions from
//!    suffixes, such as `-backports`. apt fetches the signed `InRelease` file of each, if there is one.
//! 2. The package lists of these suites have the kernels.
//!
//! The result is kept in the cache, and the lists are not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::super::debian_archive::DebianArchive;
use super::super::kernel_choice::Flavour;
use super::super::kernels::{KernelOffer, Kernels};
use super::super::progress::Progress;
use super::super::store::{StoreLock, at, write_atomically};
use super::archive::Archive;
use super::error::AptError;
use super::host_sources;
use super::package_set::{archive_id, configured};
use super::paragraphs::{Paragraph, Paragraphs};
use super::sources::{Source, of_addition};
use crate::process::BoundedCommand;

/// Roles of releases in a Debian archive. A release's own name is in its `InRelease` file.
const ROLES: [&str; 6] = [
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "experimental",
];
/// Security updates belong to their release; backports are a suite of their own.
const SECURITY: &str = "-security";
const BACKPORTS: &str = "-backports";

/// The program of apt that reads compressed lists.
const READER: &str = "/usr/lib/apt/apt-helper";
const READ_TIMEOUT: Duration = Duration::from_secs(2 * 60);

/// A suite that the archive has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Release {
    /// The name in the archive that it was found by.
    name: String,
    /// Its own name.
    codename: String,
    /// Whether it has a version number, as stable releases have.
    is_stable: bool,
}

/// Returns the kernels of the archive: those that were last found, or if there are none or `fresh`, those
/// that it has now.
///
/// # Errors
/// If the archive cannot be read.
pub(crate) fn kernels(
    lock: &StoreLock,
    fresh: bool,
    progress: &mut dyn Progress,
) -> Result<Kernels, AptError> {
    let store = lock.store();
    if let Some(pins) = &store.source().pins {
        return Ok(pins.kernels());
    }
    let file = index_file(lock);
    let known = || serde_json::from_slice::<Kernels>(&std::fs::read(&file).ok()?).ok();
    if !fresh && let Some(known) = known() {
        return Ok(known);
    }
    if store.is_offline() {
        return known().ok_or_else(|| AptError::OfflineKernels(store.base().into()));
    }
    let state = file.with_extension("apt");
    let found = Search { state: &state }.run(store.source().archive.as_ref(), progress);
    // The lists take more space than all that is read from them.
    let _ = std::fs::remove_dir_all(&state);
    let found = found?;
    let text = serde_json::to_vec(&found).map_err(|error| at(&file)(error.into()))?;
    write_atomically(&file, &text).map_err(at(&file))?;
    Ok(found)
}

/// Returns the sources that have the packages of an offer.
pub(super) fn sources_of(
    names: &[String],
    archive: Option<&DebianArchive>,
) -> Result<Vec<Source>, AptError> {
    if let Some(archive) = archive {
        let known = names.iter().filter(|name| archive.suites().contains(name));
        let sources = known.map(|name| configured(archive, name));
        return Ok(sources.collect::<Result<Vec<_>, _>>()?.concat());
    }
    let all = host_sources::sources()?;
    let release = host_sources::release_name().unwrap_or_default();
    Ok(names
        .iter()
        .flat_map(|name| of_addition(&all, &release, name))
        .collect())
}

fn index_file(lock: &StoreLock) -> PathBuf {
    let indices = lock.store().base().join("indices");
    indices.join(archive_id(lock)).join("kernels.json")
}

/// A search, with the state of its apt.
struct Search<'a> {
    state: &'a Path,
}

impl Search<'_> {
    fn run(
        &self,
        archive: Option<&DebianArchive>,
        progress: &mut dyn Progress,
    ) -> Result<Kernels, AptError> {
        let releases = match archive {
            Some(archive) => self.releases(archive.suites(), Some(archive), progress)?,
            None => self.of_host(progress)?,
        };
        let names: Vec<_> = releases.iter().map(|found| found.name.clone()).collect();
        let mut apt = self.open(&names, archive)?;
        apt.refresh(progress)?;
        progress.started("reading which kernels there are");
        let lists = apt.package_lists();
        let kernels = lists.and_then(|lists| offers(&releases, &lists));
        progress.finished();
        kernels
    }

    /// Finds the suites of the host's archive.
    fn of_host(&self, progress: &mut dyn Progress) -> Result<Vec<Release>, AptError> {
        let own = host_sources::release_name();
        let roles = ROLES.into_iter().chain(own.as_deref());
        let roles: Vec<_> = roles.map(str::to_owned).collect();
        let by_role = self.releases(&roles, None, progress)?;
        // The archive may have additions under the release's own name only.
        let with_additions = |found: &Release| {
            ["", SECURITY, BACKPORTS].map(|addition| format!("{}{addition}", found.codename))
        };
        let names: Vec<_> = by_role.iter().flat_map(with_additions).collect();
        let mut found = self.releases(&names, None, progress)?;
        for release in by_role {
            if !found.iter().any(|known| known.codename == release.codename) {
                found.push(release);
            }
        }
        Ok(found)
    }

    /// Fetches the `InRelease` files of those names that the archive has.
    fn releases(
        &self,
        names: &[String],
        archive: Option<&DebianArchive>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Release>, AptError> {
        // Files of another call would count.
        let _ = std::fs::remove_dir_all(self.state);
        let mut apt = self.open(names, archive)?;
        // Most names do not exist, which is a failure of apt.
        let failure = apt.refresh_releases(progress).err();
        let failure = failure.or_else(|| apt.unreachable());
        let mut found: Vec<Release> = Vec::new();
        let folder = self.state.join("lists");
        let entries = std::fs::read_dir(&folder).map_err(at(&folder))?;
        for entry in entries.flatten() {
            let file = entry.file_name();
            let Some(name) = file.to_str().and_then(suite_of_file) else {
                continue;
            };
            let text = std::fs::read(entry.path()).map_err(at(&entry.path()))?;
            let text = String::from_utf8_lossy(&text);
            if let Some(release) = parse_release(name, &text)
                && names.contains(&release.name)
            {
                found.push(release);
            }
        }
        match failure {
            Some(error) if found.is_empty() => Err(error),
            _ => {
                found.sort_by(|a, b| a.name.cmp(&b.name));
                Ok(found)
            }
        }
    }

    fn open(&self, names: &[String], archive: Option<&DebianArchive>) -> Result<Archive, AptError> {
        let sources = sources_of(names, archive)?;
        let label = "all suites with kernels";
        Archive::open(label, &sources, self.state, &self.state.join("debs"))
    }
}

/// Returns the suite of a list's file, such as `archive.example_debian_dists_trixie_InRelease`.
fn suite_of_file(file: &str) -> Option<&str> {
    let stem = file.strip_suffix("_InRelease")?;
    stem.rsplit_once("_dists_").map(|(_, suite)| suite)
}

/// Parses the fields of an `InRelease` file, which apt has verified.
fn parse_release(name: &str, text: &str) -> Option<Release> {
    let value = |field: &str| {
        let mut lines = text.lines();
        let found = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
        found.map(str::trim)
    };
    let codename = value("Codename").or_else(|| value("Suite")).unwrap_or(name);
    let is_plain = super::super::choice::is_suite_name;
    (is_plain(name) && is_plain(codename)).then(|| Release {
        name: name.to_owned(),
        codename: codename.to_owned(),
        is_stable: value("Version").is_some() && !codename.contains('-'),
    })
}

/// Reads the package lists, by suite, and returns each suite's kernels.
fn offers(releases: &[Release], lists: &[(String, PathBuf)]) -> Result<Kernels, AptError> {
    let mut by_suite: BTreeMap<&str, Vec<Paragraph>> = BTreeMap::new();
    for (suite, file) in lists {
        by_suite.entry(suite).or_default().extend(read(file)?);
    }
    let mut found = Vec::new();
    for release in releases
        .iter()
        .filter(|found| !found.name.ends_with(SECURITY))
    {
        let security = format!("{}{SECURITY}", release.name);
        let names = [release.name.clone(), security];
        let sources = names
            .into_iter()
            .filter(|name| by_suite.contains_key(&**name));
        let sources: Vec<_> = sources.collect();
        let mut all = Paragraphs::default();
        for name in &sources {
            all.extend(by_suite[&**name].iter().cloned());
        }
        for flavour in [Flavour::Cloud, Flavour::Generic] {
            let Some((version, packages)) = all.kernel(flavour) else {
                continue;
            };
            found.push(KernelOffer {
                suite: release.name.clone(),
                sources: sources.clone(),
                is_stable: release.is_stable,
                flavour,
                version,
                packages,
            });
        }
    }
    Ok(Kernels::new(found))
}

/// Reads the entries of a package list whose names start with `linux-`.
fn read(list: &Path) -> Result<Vec<Paragraph>, AptError> {
    let mut command = Command::new("sh");
    // A list has a hundred thousand entries, and this program needs few.
    let script = format!("{READER} cat-file \"$0\" | sed -n '/^Package: linux-/,/^$/p'");
    command.args(["-c", &script]).arg(list);
    let mut lines = Vec::new();
    let run = BoundedCommand::new("apt-helper cat-file", command, READ_TIMEOUT);
    run.succeed(|line| lines.push(line.to_owned()))?;
    Ok(Paragraph::parse_all(&lines))
}

#[cfg(test)]
mod tests {
    //! **Scope**: parsing. The tests of `apt` use a real apt.

    use super::*;

    #[test]
    fn the_name_of_a_suite_is_in_the_names_of_files() {
        let file = "a.example_debian_dists_trixie-backports_InRelease";
        assert_eq!(suite_of_file(file), Some("trixie-backports"));
        assert_eq!(suite_of_file("a.example_debian_dists_sid_Release"), None);
        assert_eq!(suite_of_file("lock"), None);
    }

    #[test]
    fn a_stable_release_has_a_version() {
        let release = |name, text| parse_release(name, text).unwrap();
        let stable = release(
            "stable",
            "-----BEGIN\n\nSuite: stable\nVersion: 13.8\nCodename: trixie\n",
        );
        assert_eq!((&*stable.codename, stable.is_stable), ("trixie", true));
        let testing = release("testing", "Suite: testing\nCodename: forky\n");
        assert_eq!((&*testing.codename, testing.is_stable), ("forky", false));
        let addition = release("x", "Version: 12\nCodename: bookworm-backports\n");
        assert!(!addition.is_stable);
        assert_eq!(parse_release("x", "Codename: ../y\n"), None);
    }
}
