//! Coverage profiles of processes in places: `LLVM_PROFILE_FILE`.
//!
//! Processes in several places have equal ids, so each file gets the name of its place and a number.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use kata_test::__runner::file_name;

/// The variable with the pattern of the file that an instrumented process writes at its end.
pub const PROFILE_FILE: &str = "LLVM_PROFILE_FILE";

/// The pattern of the files of one process of a place, and of its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileFile {
    folder: PathBuf,
    stem: String,
    /// `PLACE-PID-NUMBER`.
    tag: String,
    extension: String,
}

impl ProfileFile {
    /// Returns that of the next process, if the user asks for profiles.
    #[must_use]
    pub fn next(place: &str) -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(1);
        let pattern = std::env::var_os(PROFILE_FILE).filter(|pattern| !pattern.is_empty())?;
        let (pid, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self::of(
            Path::new(&pattern),
            &format!("{}-{pid}-{number}", file_name(place)),
        )
    }

    /// Returns that of a pattern, with a text that is added to the names of files.
    #[must_use]
    pub fn of(pattern: &Path, tag: &str) -> Option<Self> {
        let text = |part: Option<&OsStr>| Some(part?.to_str()?.to_owned());
        // Cargo runs tests in the folders of their packages.
        let folder = std::path::absolute(pattern.parent()?).ok()?;
        Some(Self {
            folder,
            stem: text(pattern.file_stem())?,
            tag: tag.to_owned(),
            extension: text(pattern.extension()).unwrap_or_else(|| "profraw".to_owned()),
        })
    }

    /// Returns the pattern for a process that writes to this host. `%m` makes processes with the same id, such as
    /// a test that was forked, add to one file.
    #[must_use]
    pub fn pattern(&self) -> OsString {
        let Self {
            folder,
            stem,
            tag,
            extension,
        } = self;
        let is_merged = stem.contains('%') && stem.split('%').skip(1).any(is_merge_pool);
        let pool = if is_merged { "" } else { "-%m" };
        folder
            .join(format!("{stem}{pool}-{tag}.{extension}"))
            .into_os_string()
    }

    /// Returns the folder of the files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the name of a file that a process elsewhere has written under this name.
    #[must_use]
    pub fn name_of(&self, name: &str) -> String {
        let stem = without_specifiers(&self.stem);
        let name = name.strip_suffix(".profraw").unwrap_or(name);
        let Self { tag, extension, .. } = self;
        format!("{stem}-{tag}-{}.{extension}", file_name(name))
    }
}

/// Whether what follows a `%` is `m`, or a number and `m`.
fn is_merge_pool(rest: &str) -> bool {
    rest.trim_start_matches(|c: char| c.is_ascii_digit())
        .starts_with('m')
}

/// Removes `%p`, `%h`, `%4m` and the like.
fn without_specifiers(stem: &str) -> String {
    let mut parts = stem.split('%');
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let part = part.trim_start_matches(|c: char| c.is_ascii_digit());
        kept.extend(part.chars().skip(1));
    }
    kept.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_writes_files_of_its_own() {
        let of = |pattern: &str| {
            let file = ProfileFile::of(Path::new(pattern), "vm-7-1").expect("a pattern");
            let pattern = file.pattern().into_string().expect("text");
            (pattern, file.name_of("57-12_0.profraw"))
        };
        for (given, pattern, name) in [
            (
                "/t/a-%p-%8m.profraw",
                "/t/a-%p-%8m-vm-7-1.profraw",
                "a-vm-7-1-57-12_0.profraw",
            ),
            (
                "/t/%p.profraw",
                "/t/%p-%m-vm-7-1.profraw",
                "-vm-7-1-57-12_0.profraw",
            ),
            ("/t/a", "/t/a-%m-vm-7-1.profraw", "a-vm-7-1-57-12_0.profraw"),
        ] {
            assert_eq!(of(given), (pattern.to_owned(), name.to_owned()));
        }
    }
}
