//! The files that a test left in the folder of `KATA_TEST_ARTIFACTS`.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use kata_test::__runner as harness;
use kata_test::__runner::{ArtifactsFolder, ArtifactsRoot, Folder};

use super::TestId;

/// The files that an attempt of a test left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Artifacts {
    /// Their folder, relative to that of the report. Empty if nothing is there.
    pub folder: String,
    /// How many files there are.
    pub files: u64,
    /// Their size, in bytes.
    pub bytes: u64,
    /// What the test left and is not there, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

impl From<harness::Artifacts> for Artifacts {
    fn from(found: harness::Artifacts) -> Self {
        Self {
            folder: found.folder,
            files: found.files,
            bytes: found.bytes,
            left_out: Vec::new(),
        }
    }
}

impl Artifacts {
    /// Returns what is in the folder of an attempt that has ended, and what is not. An empty folder is removed.
    #[must_use]
    pub fn of(folder: &ArtifactsFolder, left_out: Vec<String>) -> Option<Self> {
        let found = folder.finish().map(Self::from);
        let found = found.or_else(|| (!left_out.is_empty()).then(Self::default));
        found.map(|found| Self { left_out, ..found })
    }

    /// Takes the folder as one in a shard's folder. What is no path in it is dropped.
    pub(super) fn in_shard(&mut self, shard: &Path) {
        let is_inside = is_inside(&self.folder);
        let folder = shard.join(&self.folder);
        self.folder = match (is_inside, folder.to_str()) {
            (true, Some(folder)) => folder.to_owned(),
            _ => String::new(),
        };
    }

    /// Returns the address of the folder, for a page in the folder of the report. The path may be forged.
    pub(super) fn link(&self) -> Option<String> {
        let mut link = String::from("./");
        for byte in self.folder.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                    link.push(char::from(byte));
                }
                byte => link.push_str(&format!("%{byte:02X}")),
            }
        }
        is_inside(&self.folder).then_some(link)
    }
}

/// How many folders of binaries are kept open for the next test. Each has four descriptors.
const KEPT: usize = 16;

/// The folders for files of a run, by place and binary.
#[derive(Debug, Default)]
pub(super) struct ArtifactsRoots(Mutex<BTreeMap<(String, String), Arc<ArtifactsRoot>>>);

impl ArtifactsRoots {
    /// Makes the folder for the files of an attempt in a run's folder.
    pub(super) fn make(
        &self,
        run: &Folder,
        place: &str,
        test: &TestId,
        attempt: u32,
    ) -> io::Result<ArtifactsFolder> {
        let mut roots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (place.to_owned(), test.binary.clone());
        let known = roots.get(&key);
        // The harness of the binary may have removed it.
        let made = known.map(|root| ArtifactsFolder::make(root, &test.test, attempt));
        if let Some(Ok(made)) = made {
            return Ok(made);
        }
        if roots.len() >= KEPT {
            roots.retain(|_, root| is_in_use(root));
        }
        let root = Arc::new(ArtifactsRoot::make(run, place, &test.binary)?);
        let made = ArtifactsFolder::make(&root, &test.test, attempt);
        roots.insert(key, root);
        made
    }

    /// Removes those that are empty.
    pub(super) fn remove_empty(&self) {
        let mut roots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for root in std::mem::take(&mut *roots).into_values() {
            root.remove_empty();
        }
    }
}

/// Whether a test of the binary runs. Otherwise what is empty is removed: nothing is made meanwhile.
fn is_in_use(root: &Arc<ArtifactsRoot>) -> bool {
    let is_in_use = Arc::strong_count(root) > 1;
    if !is_in_use {
        root.remove_empty();
    }
    is_in_use
}

fn is_inside(folder: &str) -> bool {
    let mut parts = Path::new(folder).components();
    !folder.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// Writes the number of files, their size, and what is left out.
impl fmt::Display for Artifacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.files == 1 { "" } else { "s" };
        write!(f, "{} file{plural}, {}", self.files, size(self.bytes))?;
        match self.left_out.is_empty() {
            true => Ok(()),
            false => write!(f, "; left out: {}", self.left_out.join(", ")),
        }
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        0x400..0x10_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_below_the_report_is_a_link() {
        let link = |folder: &str| {
            let artifacts = Artifacts {
                folder: folder.to_owned(),
                ..Artifacts::default()
            };
            artifacts.link()
        };
        let found = link("artifacts/here/a~~b,1").expect("a link");
        assert_eq!(found, "./artifacts/here/a~~b%2C1");
        for folder in ["", "/etc", "../x", "a/../../x"] {
            assert_eq!(link(folder), None, "{folder}");
        }
        assert_eq!(link("javascript:x").as_deref(), Some("./javascript%3Ax"));
    }

    #[test]
    fn a_folder_of_a_shard_is_relative_to_the_common_report() {
        for (folder, expected) in [("artifacts/a", "x/runs/7/artifacts/a"), ("../a", "")] {
            let mut artifacts = Artifacts {
                folder: folder.to_owned(),
                ..Artifacts::default()
            };
            artifacts.in_shard(Path::new("x/runs/7"));
            assert_eq!(artifacts.folder, expected);
        }
    }

    #[test]
    fn many_binaries_hold_few_descriptors() {
        let folder = tempfile::tempdir().expect("a folder");
        let (run, _) = Folder::make(folder.path()).expect("a folder");
        let roots = ArtifactsRoots::default();
        let make = |number: usize| {
            let test = TestId::new(format!("p::{number}"), "t");
            roots.make(&run, "here", &test, 1).expect("a folder")
        };
        let running = make(0);
        for number in 1..100 {
            assert_eq!(make(number).finish(), None);
        }
        let below = |entry: &std::fs::DirEntry| {
            let file = std::fs::read_link(entry.path());
            file.is_ok_and(|file| file.starts_with(folder.path()))
        };
        let open = std::fs::read_dir("/proc/self/fd").expect("descriptors");
        let open = open.flatten().filter(below).count();
        assert!(open <= 4 * KEPT + 1, "{open} descriptors");
        let path = running.path().expect("a path");
        std::fs::write(path.join("file"), "").expect("its folder is there");
        roots.remove_empty();
        assert_eq!(running.finish().map(|left| left.files), Some(1));
        let binaries = std::fs::read_dir(folder.path().join("artifacts/here"));
        assert_eq!(binaries.expect("a folder").count(), 1);
    }
}
