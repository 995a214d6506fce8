//! An apt of our own: its lists, what it knows of a package, and its downloads.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::super::progress::Progress;
use super::super::store::{at, write_atomically};
use super::closure::{Closure, Package};
use super::error::AptError;
use super::sources::{Source, render};
use super::{config, debs};
use crate::process::{ChildError, Run};

/// How often a file is downloaded before we give up on it.
const TRIES: u32 = 3;

/// Generous for slow lines, yet an end to a server that answers no more.
const UPDATE_DEADLINE: Duration = Duration::from_secs(10 * 60);
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(30 * 60);
const QUERY_DEADLINE: Duration = Duration::from_secs(2 * 60);

/// Some archives, and where their lists and packages are kept.
pub(super) struct Archive {
    suite: String,
    config: PathBuf,
    downloads: PathBuf,
    /// A directory without packages.
    nothing: PathBuf,
    /// What apt complained about while it fetched the lists.
    complaint: String,
}

impl Archive {
    /// Sets up an apt for these sources, with its state in `state` and packages in `downloads`.
    pub(super) fn open(
        suite: &str,
        sources: &[Source],
        state: &Path,
        downloads: &Path,
    ) -> Result<Self, AptError> {
        if sources.is_empty() {
            return Err(AptError::NoSource {
                suite: suite.to_owned(),
            });
        }
        let nothing = state.join("nothing");
        let partial = [state.join("lists"), nothing.clone(), downloads.into()];
        for directory in partial.map(|directory| directory.join("partial")) {
            std::fs::create_dir_all(&directory).map_err(at(&directory))?;
        }
        let config = state.join("apt.conf");
        let files = [
            // As far as this apt knows, nothing is installed.
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

    /// Fetches the lists of packages.
    pub(super) fn refresh(&mut self, progress: &mut dyn Progress) -> Result<(), AptError> {
        progress.started(&format!("fetching the package lists of {}", self.suite));
        let mut command = self.apt_get();
        command.arg("update");
        let run = Run {
            what: "apt-get update",
            command,
            deadline: UPDATE_DEADLINE,
            input: b"",
        };
        let result = run.succeed(|line| show(line, progress));
        progress.finished();
        // An archive out of reach is only a warning to apt; it matters if a package is then unknown.
        self.complaint = result?.stderr.join("\n");
        Ok(())
    }

    /// Returns the first of these packages that the archive has, with what it depends on.
    pub(super) fn closure(
        &self,
        candidates: &[&str],
        wanted: impl Fn(&Package) -> bool,
    ) -> Result<Closure, AptError> {
        let mut first_error = None;
        for candidate in candidates {
            match self.describe(candidate) {
                Ok(uris) => return self.parsed(candidate, &uris, wanted),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(match first_error {
            Some(source @ ChildError::Failed { .. }) => AptError::Unknown {
                wanted: candidates.iter().map(|&name| name.to_owned()).collect(),
                suite: self.suite.clone(),
                update: self.complaint.clone(),
                source: Box::new(source),
            },
            Some(other) => AptError::Child(other),
            None => AptError::NoSource {
                suite: self.suite.clone(),
            },
        })
    }

    fn parsed(
        &self,
        package: &str,
        uris: &[String],
        wanted: impl Fn(&Package) -> bool,
    ) -> Result<Closure, AptError> {
        let closure = Closure::parse(uris, wanted)?;
        if closure.packages().is_empty() {
            let (package, suite) = (package.to_owned(), self.suite.clone());
            return Err(AptError::Empty { package, suite });
        }
        Ok(closure)
    }

    /// Returns the lines in which apt describes what it would download for a package.
    fn describe(&self, package: &str) -> Result<Vec<String>, ChildError> {
        let mut command = self.apt_get();
        // apt leaves out what it finds downloaded, though we need to know the whole closure.
        command
            .arg("-o")
            .arg(format!("Dir::Cache::archives={}", self.nothing.display()));
        command.args(["--print-uris", "install", package]);
        let what = format!("apt-get install --print-uris {package}");
        let mut uris = Vec::new();
        let run = Run {
            what: &what,
            command,
            deadline: QUERY_DEADLINE,
            input: b"",
        };
        run.succeed(|line| {
            if line.starts_with('\'') {
                uris.push(line.to_owned());
            }
        })?;
        Ok(uris)
    }

    /// Downloads what is absent, and again what turns out to be wrong.
    pub(super) fn fetch(
        &self,
        closure: &Closure,
        progress: &mut dyn Progress,
    ) -> Result<(), AptError> {
        let all: Vec<_> = closure.packages().iter().collect();
        let mut left = debs::to_fetch(&all, &self.downloads, progress)?;
        let mut complaint = None;
        for attempt in 1..=TRIES {
            if left.is_empty() {
                return Ok(());
            }
            complaint = self.download(&left, progress).err();
            if let Some(error) = complaint.as_ref().filter(|_| attempt < TRIES) {
                progress.noted(&format!("{error}; trying again"));
            }
            left = debs::to_fetch(&left, &self.downloads, progress)?;
        }
        if left.is_empty() {
            return Ok(());
        }
        let files = left.iter().map(|package| package.file.clone()).collect();
        Err(AptError::Incomplete {
            files,
            tries: TRIES,
            source: complaint,
        })
    }

    fn download(
        &self,
        packages: &[&Package],
        progress: &mut dyn Progress,
    ) -> Result<(), ChildError> {
        let bytes: u64 = packages.iter().map(|package| package.size).sum();
        progress.started(&format!(
            "downloading {} packages of {}, {}.{} MB",
            packages.len(),
            self.suite,
            bytes / 1_000_000,
            bytes / 100_000 % 10,
        ));
        let mut command = self.apt_get();
        // This command of apt's needs no lock and no root, and takes exactly what it is asked for.
        command
            .arg("download")
            .args(packages.iter().map(|package| package.request()));
        command.current_dir(&self.downloads);
        let run = Run {
            what: "apt-get download",
            command,
            deadline: DOWNLOAD_DEADLINE,
            input: b"",
        };
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

/// Shows a line of apt's status, such as `dlstatus:3:41.9:Retrieving file 3 of 72`.
fn show(line: &str, progress: &mut dyn Progress) {
    let mut parts = line.splitn(4, ':');
    let is_status = parts.next() == Some("dlstatus");
    let percent = parts.nth(1).and_then(|percent| percent.parse::<f64>().ok());
    if let Some(percent) = percent.filter(|percent| is_status && percent.is_finite()) {
        progress.advanced((percent / 100.0).clamp(0.0, 1.0));
    }
}
