//! A folder for the files of one attempt of a test: `artifacts/PLACE/BINARY/TEST,ATTEMPT` in the run's folder.
//!
//! Most tests leave none. Some file systems take milliseconds to make and remove a folder, so one that stayed
//! empty is renamed for the next test.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{PathBuf, absolute};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::unistd::{getegid, geteuid};

use super::folder::Folder;
use crate::json::escaped;

/// The variable with the folder's path.
pub const ARTIFACTS: &str = "KATA_TEST_ARTIFACTS";

/// A file in which a harness notes the folders of tests that have ended and left files. The agent of a VM
/// sends them then.
pub const ENDED: &str = "KATA_TEST_ARTIFACTS_ENDED";

/// The folder of a run's artifacts, in the run's folder.
pub const ARTIFACTS_FOLDER: &str = "artifacts";

/// The longest name of a folder, in bytes. The kernel takes 255.
const MAX_NAME: usize = 160;

/// How deep folders in a test's folder are looked at.
const MAX_DEPTH: usize = 64;

/// How often the folders above are made: another process may remove an empty one meanwhile.
const TRIES: usize = 16;

/// The folder for the tests of one binary in one place.
#[derive(Debug)]
pub struct ArtifactsRoot {
    /// The folders above it, each with the name of the next.
    above: Vec<(Folder, String)>,
    folder: Folder,
    /// The names of empty folders whose tests have ended.
    spare: Mutex<Vec<String>>,
}

/// The folder of one attempt.
#[derive(Debug)]
pub struct ArtifactsFolder {
    root: Arc<ArtifactsRoot>,
    name: String,
}

/// The files that an attempt left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Artifacts {
    /// Their folder, relative to the run's folder.
    pub folder: String,
    /// How many files there are.
    pub files: u64,
    /// Their size, in bytes.
    pub bytes: u64,
}

/// Returns the path of the first folder of an attempt, relative to the run's folder.
#[must_use]
pub fn artifacts_path(place: &str, binary: &str, test: &str, attempt: u32) -> String {
    let [place, binary, test] = [place, binary, test].map(folder_name);
    format!("{ARTIFACTS_FOLDER}/{place}/{binary}/{test},{attempt}")
}

impl ArtifactsRoot {
    /// Opens or makes it in a run's folder.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn make(run: &Folder, place: &str, binary: &str) -> io::Result<Self> {
        let names = [
            ARTIFACTS_FOLDER.to_owned(),
            folder_name(place),
            folder_name(binary),
        ];
        for _ in 1..TRIES {
            match Self::try_make(run, &names) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                made => return made,
            }
        }
        Self::try_make(run, &names)
    }

    fn try_make(run: &Folder, names: &[String; 3]) -> io::Result<Self> {
        let mut parent = run.try_clone()?;
        let mut above = Vec::with_capacity(names.len());
        for name in names {
            let (folder, _) = parent.folder(name)?;
            above.push((mem::replace(&mut parent, folder), name.clone()));
        }
        Ok(Self {
            above,
            folder: parent,
            spare: Mutex::default(),
        })
    }

    /// Removes it and the folders above it, as far as they are empty.
    pub fn remove_empty(&self) {
        self.remove_spare();
        let mut above = self.above.iter().rev();
        let _ = above.try_for_each(|(parent, name)| fs::remove_dir(parent.at(name)));
    }

    /// Removes the empty folders of tests that have ended.
    pub(super) fn remove_spare(&self) {
        for name in mem::take(&mut *self.spare()) {
            let _ = fs::remove_dir(self.folder.at(name));
        }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<String>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a folder of a name that is not taken.
    fn make_inner(&self, name: &str) -> io::Result<()> {
        let path = self.folder.at(name);
        // Without the look the rename would replace an empty folder.
        if let (true, Some(spare)) = (path.symlink_metadata().is_err(), self.spare().pop()) {
            if fs::rename(self.folder.at(spare), &path).is_ok() {
                return Ok(());
            }
        }
        fs::create_dir(path)
    }

    /// Whether an empty folder is as it was made, for the next test.
    fn is_unchanged(&self, folder: &Metadata) -> bool {
        let Ok(root) = self.folder.metadata() else {
            return false;
        };
        // Under root the owner of the root may be another.
        let is_own = folder.uid() == geteuid().as_raw();
        is_own && folder.gid() == getegid().as_raw() && folder.mode() == root.mode()
    }

    fn relative(&self, name: &str) -> String {
        let above = self.above.iter().map(|(_, name)| &**name);
        let names: Vec<&str> = above.chain([name]).collect();
        names.join("/")
    }
}

impl ArtifactsFolder {
    /// Makes the folder `TEST,ATTEMPT`. A second one of the same attempt, as of another process, is
    /// `TEST,ATTEMPT,2`.
    ///
    /// # Errors
    ///
    /// If it cannot be made. With [`NotFound`](io::ErrorKind::NotFound) the root was removed.
    pub fn make(root: &Arc<ArtifactsRoot>, test: &str, attempt: u32) -> io::Result<Self> {
        let first = format!("{},{attempt}", folder_name(test));
        let mut name = first.clone();
        for count in 2.. {
            match root.make_inner(&name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    name = format!("{first},{count}");
                }
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        Ok(Self {
            root: Arc::clone(root),
            name,
        })
    }

    /// Returns its absolute path.
    ///
    /// # Errors
    ///
    /// If the working directory is not known.
    pub fn path(&self) -> io::Result<PathBuf> {
        absolute(self.root.folder.path().join(&self.name))
    }

    /// Returns its path in the run's folder.
    #[must_use]
    pub fn relative(&self) -> String {
        self.root.relative(&self.name)
    }

    /// Opens the folder, to write into it.
    ///
    /// # Errors
    ///
    /// If it is not there.
    pub fn open(&self) -> io::Result<Folder> {
        self.root.folder.inner(&self.name)
    }

    /// Gives it to the user that the test runs as.
    pub(crate) fn hand_to(&self, uid: u32, gid: u32) -> io::Result<()> {
        self.open()?.hand_to(uid, gid)
    }

    /// Removes it if it is empty. Otherwise root gives the content to the owner of the run's folder, and what
    /// there is of it is returned.
    #[must_use]
    pub fn finish(&self) -> Option<Artifacts> {
        let path = self.root.folder.at(&self.name);
        let folder = open_up(&self.root.folder, &self.name)?;
        if fs::read_dir(folder.at("")).ok()?.next().is_none() {
            let is_unchanged = path.symlink_metadata();
            let is_unchanged = is_unchanged.is_ok_and(|data| self.root.is_unchanged(&data));
            match is_unchanged {
                true => self.root.spare().push(self.name.clone()),
                false => drop(fs::remove_dir(path)),
            }
            return None;
        }
        let owner = self.root.folder.owner();
        let owner = owner.filter(|_| geteuid().is_root());
        if let Some((uid, gid)) = owner {
            let _ = folder.hand_to(uid, gid);
        }
        let mut artifacts = Artifacts {
            folder: self.relative(),
            ..Artifacts::default()
        };
        artifacts.count(&folder, owner, 0);
        Some(artifacts)
    }
}

impl Artifacts {
    /// Counts the files in a folder, and gives what root's tests made to an owner. Errors are no reason to lose
    /// the rest.
    fn count(&mut self, folder: &Folder, owner: Option<(u32, u32)>, depth: usize) {
        for entry in fs::read_dir(folder.at("")).into_iter().flatten().flatten() {
            let path = folder.at(entry.file_name());
            let Ok(data) = fs::symlink_metadata(&path) else {
                continue;
            };
            // Another name of the file may be elsewhere.
            let is_ours = data.is_dir() || data.nlink() == 1;
            let new_owner = owner.filter(|(uid, _)| is_ours && data.uid() != *uid);
            if let Some((uid, gid)) = new_owner {
                let _ = lchown(&path, Some(uid), Some(gid));
            }
            if data.is_file() {
                self.files += 1;
                self.bytes += data.len();
            } else if data.is_dir() && depth < MAX_DEPTH {
                if let Some(inner) = open_up(folder, entry.file_name()) {
                    self.count(&inner, owner, depth + 1);
                }
            }
        }
    }
}

/// Opens a folder in another, and lets its owner read and remove what is in it.
fn open_up(parent: &Folder, name: impl AsRef<OsStr>) -> Option<Folder> {
    let name = name.as_ref();
    let path = parent.at(name);
    let data = fs::symlink_metadata(&path).ok()?;
    let is_closed = data.is_dir() && data.mode() & 0o700 != 0o700;
    let mode = fs::Permissions::from_mode(data.mode() & 0o7777 | 0o700);
    // Root can open it as it is, and changes nothing through a link that replaces it.
    let is_root = geteuid().is_root();
    if is_closed && !is_root && data.uid() == geteuid().as_raw() {
        let _ = fs::set_permissions(&path, mode.clone());
    }
    let folder = parent.inner(name).ok()?;
    if is_closed && is_root {
        let _ = folder.set_permissions(mode);
    }
    Some(folder)
}

impl Artifacts {
    /// Notes that the files are complete, for the agent of a VM.
    pub(crate) fn announce(&self) {
        let Some(path) = env::var_os(ENDED).filter(|path| !path.is_empty()) else {
            return;
        };
        let file = OpenOptions::new().create(true).append(true).open(path);
        // Without the note they are sent when the harness has ended.
        let _ = file.and_then(|mut file| writeln!(file, "{}", self.folder));
    }

    /// Returns it as JSON.
    pub(super) fn to_json(&self) -> String {
        let Self {
            folder,
            files,
            bytes,
        } = self;
        let folder = &*escaped(folder);
        format!("{{\"folder\":\"{folder}\",\"files\":{files},\"bytes\":{bytes}}}")
    }
}

/// Returns a folder's name for a place, binary or test. Different texts have different names; the end of a
/// long one is replaced by a hash.
fn folder_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        match c {
            '.' if name.is_empty() => name.push_str("=2e"),
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' | '+' => name.push(c),
            ':' => name.push('~'),
            c => {
                let mut bytes = [0; 4];
                let escape = |byte| format!("={byte:02x}");
                name.extend(c.encode_utf8(&mut bytes).bytes().map(escape));
            }
        }
    }
    match name.len() {
        0 => "=".to_owned(),
        1..=MAX_NAME => name,
        _ => format!("{}=={:016x}", &name[..MAX_NAME - 18], hash(text)),
    }
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    //! Scope: names, and what an end leaves. Tests that run binaries show the variable.

    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_readable_and_are_no_paths() {
        for (text, name) in [
            ("net::loopback", "net~~loopback"),
            ("vm:bookworm+kvm", "vm~bookworm+kvm"),
            ("pkg::bin/tool", "pkg~~bin=2ftool"),
            ("..", "=2e."),
            ("", "="),
            ("é", "=c3=a9"),
        ] {
            assert_eq!(folder_name(text), name);
        }
        let long = ["x", "y"].map(|end| folder_name(&("a".repeat(500) + end)));
        assert!(long[0] != long[1] && long[0].len() <= MAX_NAME, "{long:?}");
    }

    proptest! {
        #[test]
        fn different_texts_have_different_names(one in "[a:~=./+é]{0,6}", other in "[a:~=./+é]{0,6}") {
            prop_assert_eq!(one == other, folder_name(&one) == folder_name(&other));
            let name = folder_name(&one);
            prop_assert!(!name.contains('/') && !name.starts_with('.'));
        }
    }

    #[test]
    fn an_empty_folder_goes_and_a_second_one_has_another_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let (run, _) = Folder::make(folder.path()).expect("a folder");
        let root = ArtifactsRoot::make(&run, "here", "p::it").expect("a root");
        let root = Arc::new(root);
        let make = || ArtifactsFolder::make(&root, "a::b", 1).expect("a folder");
        let [one, two] = [make(), make()];
        assert!(one.path().expect("a path").is_dir());
        assert_eq!(one.relative(), "artifacts/here/p~~it/a~~b,1");
        assert_eq!(one.relative(), artifacts_path("here", "p::it", "a::b", 1));
        assert_eq!(two.relative(), "artifacts/here/p~~it/a~~b,1,2");
        let path = two.path().expect("a path");
        fs::create_dir(path.join("deep")).expect("a folder");
        fs::write(path.join("deep/file"), "four").expect("a file");
        symlink("/etc", path.join("link")).expect("a link");
        assert_eq!(one.finish(), None);
        let left = two.finish().expect("a file");
        let expected = Artifacts {
            folder: two.relative(),
            files: 1,
            bytes: 4,
        };
        assert_eq!(left, expected);
        let three = ArtifactsFolder::make(&root, "c", 1).expect("a folder");
        assert!(!one.path().expect("a path").exists(), "it was renamed");
        assert_eq!(three.finish(), None);
        root.remove_empty();
        assert!(path.exists());
        fs::remove_dir_all(&path).expect("removed");
        root.remove_empty();
        let left = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 0, "no empty folder is left");
        let made = ArtifactsFolder::make(&root, "a", 1).expect_err("it was removed");
        assert_eq!(made.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_left_can_be_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (run, _) = Folder::make(folder.path()).expect("a folder");
        let root = ArtifactsRoot::make(&run, "here", "it").expect("a root");
        let left = ArtifactsFolder::make(&Arc::new(root), "a", 1).expect("a folder");
        let path = left.path().expect("a path");
        let folders = ["none/inner", "none", ""].map(|name| path.join(name));
        fs::create_dir_all(&folders[0]).expect("a folder");
        fs::write(folders[0].join("file"), "").expect("a file");
        for (folder, mode) in folders.iter().zip([0o555, 0, 0o555]) {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).expect("its folder");
        }
        assert_eq!(left.finish().map(|left| left.files), Some(1));
        for (folder, mode) in folders.iter().zip([0o755, 0o700, 0o755]) {
            let data = fs::metadata(folder).expect("a folder");
            assert_eq!(data.mode() & 0o777, mode, "{}", folder.display());
        }
    }
}
