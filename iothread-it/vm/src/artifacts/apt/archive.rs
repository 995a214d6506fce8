//! Runs apt with a configuration and state of its own: package lists, dependencies, downloads.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::super::location::free_space;
use super::super::progress::Progress;
use super::super::store::{at, write_atomically};
use super::closure::{Closure, Package};
use super::error::AptError;
use super::sources::{Source, render};
use super::{config, downloads};
use crate::process::{BoundedCommand, CommandError};

/// How many times a download is attempted.
const MAX_ATTEMPTS: u32 = 3;

/// What the package lists of some suites take while apt reads them: more than twice of what was seen.
const LISTS_SPACE: u64 = 200_000_000;
/// How much a package takes while it is unpacked, as a multiple of its own size: it is compressed.
const UNPACKED: u64 = 7;

/// Long enough for slow connections.
const UPDATE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(30 * 60);
const QUERY_TIMEOUT: Duration = Duration::from_secs(2 * 60);

/// An apt configuration for some archives, with its lists and packages.
pub(super) struct Archive {
    suite: String,
    config: PathBuf,
    downloads: PathBuf,
    /// An empty package cache.
    nothing: PathBuf,
    /// The warnings of `apt-get update`.
    complaint: String,
}

impl Archive {
    /// Writes a configuration for these sources, with the lists in `state` and packages in `downloads`.
    pub(super) fn open(
        suite: &str,
        sources: &[Source],
        state: &Path,
        downloads: &Path,
    ) -> Result<Self, AptError> {
        if sources.is_empty() {
            return Err(AptError::NoSource(suite.to_owned()));
        }
        let nothing = state.join("nothing");
        let partial = [state.join("lists"), nothing.clone(), downloads.into()];
        for directory in partial.map(|directory| directory.join("partial")) {
            std::fs::create_dir_all(&directory).map_err(at(&directory))?;
        }
        let config = state.join("apt.conf");
        let files = [
            // No package is installed.
            (state.join("status"), String::new()),
            (state.join("archive.sources"), render(sources)),
            (config.clone(), config::render(state, downloads)?),
        ];
        for (path, text) in files {
            write_atomically(&path, text.as_bytes()).map_err(at(&path))?;
        }
        let (suite, downloads) = (suite.to_owned(), downloads.to_owned());
        Ok(Self {
            suite,
            config,
            downloads,
            nothing,
            complaint: String::new(),
        })
    }

    /// Fetches the package lists.
    pub(super) fn refresh(&mut self, progress: &mut dyn Progress) -> Result<(), AptError> {
        let command = self.apt_get();
        self.update("package lists", command, progress)
    }

    /// Fetches the `InRelease` files only, with the signed names and versions of suites.
    pub(super) fn refresh_releases(&mut self, progress: &mut dyn Progress) -> Result<(), AptError> {
        let mut command = self.apt_get();
        command.args([
            "-o",
            "Acquire::IndexTargets::deb::Packages::DefaultEnabled=false",
        ]);
        self.update("names", command, progress)
    }

    fn update(
        &mut self,
        what: &str,
        mut command: Command,
        progress: &mut dyn Progress,
    ) -> Result<(), AptError> {
        // On a full file system apt may hang.
        self.check_space("package lists", LISTS_SPACE)?;
        progress.started(&format!("fetching the {what} of {}", self.suite));
        command.arg("update");
        let run = BoundedCommand::new("apt-get update", command, UPDATE_TIMEOUT);
        let result = run.succeed(|line| show(line, progress));
        progress.finished();
        // apt only warns if an archive cannot be reached. The warning matters if a package is not found.
        self.complaint = match result {
            Ok(finished) => finished.stderr.join("\n"),
            Err(error @ CommandError::Failed { .. }) => {
                return Err(self.unreadable(&error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        Ok(())
    }

    fn check_space(&self, what: &'static str, needed: u64) -> Result<(), AptError> {
        let path = &self.downloads;
        match free_space(path).map_err(at(path))? {
            free if free < needed => Err(AptError::NoSpace {
                what,
                needed,
                free,
                path: path.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Returns why an archive did not answer the last `apt-get update`, which is only a warning of apt.
    pub(super) fn unreachable(&self) -> Option<AptError> {
        let mut warnings = self.complaint.lines();
        let update = warnings.find(|line| {
            let failed = line.contains("Failed to fetch") || line.contains("Could not");
            // A suite that an archive does not have is none of its failures.
            failed && !line.contains("404")
        })?;
        Some(self.unreadable(update.trim_start_matches("W: ")))
    }

    fn unreadable(&self, update: &str) -> AptError {
        AptError::Unreadable {
            suite: self.suite.clone(),
            update: update.trim_end_matches('.').to_owned(),
        }
    }

    /// Returns the files of the package lists, each with its suite.
    pub(super) fn package_lists(&self) -> Result<Vec<(String, PathBuf)>, AptError> {
        let mut command = self.apt_get();
        command.args(["indextargets", "--format", "$(RELEASE) $(FILENAME)"]);
        command.arg("Created-By: Packages");
        let run = BoundedCommand::new("apt-get indextargets", command, QUERY_TIMEOUT);
        let mut lists = Vec::new();
        run.succeed(|line| {
            let list = line.split_once(' ');
            lists.extend(list.map(|(suite, file)| (suite.to_owned(), PathBuf::from(file))));
        })?;
        Ok(lists)
    }

    /// Returns the first available candidate with its dependencies.
    pub(super) fn closure(
        &self,
        candidates: &[&str],
        wanted: impl Fn(&Package) -> bool,
    ) -> Result<Closure, AptError> {
        let mut first_error = None;
        for candidate in candidates {
            match self.describe(candidate) {
                Ok(uris) => {
                    let closure = Closure::parse(&uris, wanted)?;
                    return match closure.packages().is_empty() {
                        true => Err(AptError::NothingToDownload {
                            package: candidate.to_string(),
                            suite: self.suite.clone(),
                        }),
                        false => Ok(closure),
                    };
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if let Some(unreachable) = self.unreachable() {
            return Err(unreachable);
        }
        Err(match first_error {
            Some(source @ CommandError::Failed { .. }) => AptError::PackageNotFound {
                wanted: candidates.iter().map(|&name| name.to_owned()).collect(),
                suite: self.suite.clone(),
                update: self.complaint.clone(),
                source: Box::new(source),
            },
            Some(other) => AptError::Child(other),
            None => AptError::NoSource(self.suite.clone()),
        })
    }

    /// Returns what `--print-uris` prints for a package and its dependencies.
    fn describe(&self, package: &str) -> Result<Vec<String>, CommandError> {
        let mut command = self.apt_get();
        // With an empty cache, since apt omits downloaded packages.
        command
            .arg("-o")
            .arg(format!("Dir::Cache::archives={}", self.nothing.display()));
        command.args(["--print-uris", "install", package]);
        let what = format!("apt-get install --print-uris {package}");
        let mut uris = Vec::new();
        BoundedCommand::new(&what, command, QUERY_TIMEOUT)
            .succeed(|line| uris.push(line.to_owned()))?;
        Ok(uris)
    }

    /// Downloads missing and damaged packages.
    pub(super) fn fetch(
        &self,
        closure: &Closure,
        progress: &mut dyn Progress,
    ) -> Result<(), AptError> {
        let all: Vec<_> = closure.packages().iter().collect();
        let mut left = downloads::to_fetch(&all, &self.downloads, progress)?;
        let bytes: u64 = left.iter().map(|package| package.size).sum();
        self.check_space("packages and their files", bytes.saturating_mul(UNPACKED))?;
        let mut complaint = None;
        for attempt in 1..=MAX_ATTEMPTS {
            if left.is_empty() {
                return Ok(());
            }
            complaint = self.download(&left, progress).err();
            if let Some(error) = complaint.as_ref().filter(|_| attempt < MAX_ATTEMPTS) {
                progress.noted(&format!("{error}; trying again"));
            }
            left = downloads::to_fetch(&left, &self.downloads, progress)?;
        }
        if left.is_empty() {
            return Ok(());
        }
        let files = left.iter().map(|package| package.file.clone()).collect();
        Err(AptError::Incomplete {
            files,
            tries: MAX_ATTEMPTS,
            source: complaint,
        })
    }

    fn download(
        &self,
        packages: &[&Package],
        progress: &mut dyn Progress,
    ) -> Result<(), CommandError> {
        let bytes: u64 = packages.iter().map(|package| package.size).sum();
        progress.started(&format!(
            "downloading {} packages of {}, {}.{} MB",
            packages.len(),
            self.suite,
            bytes / 1_000_000,
            bytes / 100_000 % 10,
        ));
        let mut command = self.apt_get();
        // This command needs neither lock nor root, and downloads exactly these packages.
        command
            .arg("download")
            .args(packages.iter().map(|package| package.request()));
        command.current_dir(&self.downloads);
        let run = BoundedCommand::new("apt-get download", command, DOWNLOAD_TIMEOUT);
        let result = run.succeed(|line| show(line, progress));
        progress.finished();
        result.map(drop)
    }

    fn apt_get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-qq").arg("-c").arg(&self.config);
        command.args(["-o", "APT::Status-Fd=1"]);
        command
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

/// Reports a status line of apt, such as `dlstatus:3:41.9:Retrieving file 3 of 72`.
fn show(line: &str, progress: &mut dyn Progress) {
    let mut parts = line.splitn(4, ':');
    let is_status = parts.next() == Some("dlstatus");
    let percent = parts.nth(1).and_then(|percent| percent.parse::<f64>().ok());
    if let Some(percent) = percent.filter(|percent| is_status && percent.is_finite()) {
        progress.advanced((percent / 100.0).clamp(0.0, 1.0));
    }
}
