//! The guests of failed tests: saved to folders of the cache, and restored for a shell.
//!
//! | file of an entry in `guests` | content |
//! |---|---|
//! | `guest.json` | what the guest is, and its test; written last, because it makes the entry valid |
//! | `state` | its memory, and the state of its devices |
//! | `disk`, `package`, `files` | its disks |
//!
//! A restored guest writes to a copy of `disk`, so it can be restored again.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use guest_vm::artifacts::{
    FileState, Silent, Store, StoreError, StoreLock, WorkFolder, write_atomically,
};
use guest_vm::guest::protocol::User;
use guest_vm::scratch::ScratchDir;
use guest_vm::vm::{SavedGuest, SavedGuestError, Vm};
use iothread_pool::Placement;
use kata_test_runner::{Run, Session, TestId, UserKind, chain};
use serde::{Deserialize, Serialize};

use super::guest::{
    FILES, Guest, GuestError, PACKAGE, SCRATCH, at, image_disk, scratch_disk, user,
};
use super::session::VmSession;
use super::shape::Shape;
use super::{VmArtifacts, VmPlace, memory};

/// Version of the description.
const SCHEMA: u32 = 1;

const DESCRIPTION: &str = "guest.json";
const STATE: &str = "state";

/// The maximum size of a description, in bytes. The environment is most of it.
const MAX_DESCRIPTION: u64 = 4 << 20;

/// Why a guest is not saved or restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SavedError {
    /// QEMU failed, or the state is not usable.
    #[error(transparent)]
    State(#[from] SavedGuestError),
    /// The cache cannot be locked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The place has no cache.
    #[error("there is no cache to save it in")]
    NoStore,
    /// A VM cannot be started, or a file cannot be read or written.
    #[error(transparent)]
    Guest(#[from] GuestError),
}

/// What a saved guest is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    schema: u32,
    /// The folder of its run. The guest is removed when that is.
    pub(crate) run: PathBuf,
    binary: String,
    test: String,
    pub(crate) place: String,
    artifacts: VmArtifacts,
    shape: Shape,
    guest: SavedGuest,
    /// The files of its disks, in the order in which they were attached.
    disks: Vec<String>,
    /// Root if `None`.
    user: Option<User>,
    executable: PathBuf,
    /// The working directory of the test.
    pub(crate) directory: PathBuf,
    environment: Vec<(String, String)>,
}

/// A guest of a failed test that was saved.
#[derive(Debug)]
pub(crate) struct SavedTest {
    folder: PathBuf,
    pub(crate) description: Description,
}

/// The guest of a failed test, and where it is saved.
pub(super) struct FailedTest<'a> {
    pub(super) run: &'a Run,
    pub(super) test: &'a TestId,
    pub(super) place: &'a VmPlace,
    /// Root if `None`.
    pub(super) user: Option<User>,
}

impl FailedTest<'_> {
    /// Saves the guest, and ends it. Returns what to tell the user.
    pub(super) fn save(&self, guest: Guest) -> String {
        let TestId { binary, test } = self.test;
        match self.write(guest) {
            Ok(()) => format!(
                "saved the guest of {binary} {test}: `cargo kata-test shell --place {} {}`",
                quoted(self.place.unshaped_name()),
                quoted(test)
            ),
            Err(error) => {
                let why = chain(&error);
                format!("cannot save the guest of {binary} {test}: {why}")
            }
        }
    }

    fn write(&self, guest: Guest) -> Result<(), SavedError> {
        let store = self.place.store.as_ref().ok_or(SavedError::NoStore)?;
        let folder = self.new_entry(store)?;
        let written = self.write_to(&folder, guest);
        if written.is_err() {
            let _ = fs::remove_dir_all(&folder);
        }
        written
    }

    /// Makes a folder that is this user's alone: it gets the memory of a guest.
    fn new_entry(&self, store: &Store) -> Result<PathBuf, SavedError> {
        let guests = store.guests();
        // Until it is in use, other processes remove it as incomplete.
        let lock = store.lock(&mut Silent)?;
        let mut number = 0;
        let folder = loop {
            let folder = guests.join(format!("{}-{number}", self.run.id()));
            let mut builder = DirBuilder::new();
            match builder.mode(0o700).create(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(&guests).map_err(at(&guests))?;
                    let private = Permissions::from_mode(0o700);
                    fs::set_permissions(&guests, private).map_err(at(&guests))?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                made => break made.map(|()| folder.clone()).map_err(at(&folder))?,
            }
        };
        lock.hold(&folder)?;
        Ok(folder)
    }

    fn write_to(&self, folder: &Path, guest: Guest) -> Result<(), SavedError> {
        let Guest {
            vm,
            memory: _memory,
            scratch,
            executable,
            directory,
            environment,
        } = guest;
        let artifacts = &self.place.artifacts;
        let (manifest, spec) = (&artifacts.manifest, artifacts.spec());
        let saved = vm.save(manifest, &spec, &folder.join(STATE))?;
        let mut disks = Vec::new();
        for name in [SCRATCH.1, PACKAGE, FILES] {
            let file = scratch.path().join(name);
            if file.exists() {
                move_file(&file, &folder.join(name)).map_err(at(&file))?;
                disks.push(name.to_owned());
            }
        }
        let description = Description {
            schema: SCHEMA,
            run: self.run.dir().to_owned(),
            binary: self.test.binary.clone(),
            test: self.test.test.clone(),
            place: self.place.name.clone(),
            artifacts: artifacts.clone(),
            shape: artifacts.shape(),
            guest: saved,
            disks,
            user: self.user,
            executable: executable.0,
            directory,
            environment,
        };
        let path = folder.join(DESCRIPTION);
        let text = serde_json::to_vec(&description).map_err(io::Error::from);
        let written = text.and_then(|text| write_atomically(&path, &text));
        Ok(written.map_err(at(&path))?)
    }
}

impl SavedTest {
    /// Finds the guests that runs of this workspace have saved, the newest first.
    pub(crate) fn find_all(store: &Store, work: &WorkFolder) -> Result<Vec<Self>, StoreError> {
        if !store.guests().exists() {
            return Ok(Vec::new());
        }
        let mut found = Self::sweep(&store.lock(&mut Silent)?);
        let records = work.path().parent().map(fs::canonicalize);
        if let Some(Ok(records)) = records {
            found.retain(|saved| saved.description.run.starts_with(&records));
        }
        // Runs have their time in their names.
        found.sort_by(|a, b| b.folder.cmp(&a.folder));
        Ok(found)
    }

    /// Removes the guests of runs that are gone, and what killed processes left. Returns the others that this version
    /// can restore.
    pub(crate) fn sweep(lock: &StoreLock) -> Vec<Self> {
        let mut found = Vec::new();
        let entries = fs::read_dir(lock.store().guests()).into_iter().flatten();
        for entry in entries.flatten().map(|entry| entry.path()) {
            match Self::read(&entry) {
                Some(saved) if saved.description.run.is_dir() => found.push(saved),
                None if Self::is_of_another_version(&entry) => {}
                // A process that saves one has it in use.
                _ => drop(lock.remove_entry(&entry)),
            }
        }
        found
    }

    fn description(folder: &Path) -> Option<Vec<u8>> {
        let path = folder.join(DESCRIPTION);
        let data = path.symlink_metadata().ok()?;
        match data.is_file() && data.len() <= MAX_DESCRIPTION {
            true => fs::read(&path).ok(),
            false => None,
        }
    }

    /// Returns whether it has a description that names a run which is still there.
    fn is_of_another_version(folder: &Path) -> bool {
        #[derive(Deserialize)]
        struct AnyVersion {
            run: PathBuf,
        }
        let text = Self::description(folder);
        let described = text.and_then(|text| serde_json::from_slice::<AnyVersion>(&text).ok());
        described.is_some_and(|any| any.run.is_dir())
    }

    fn read(folder: &Path) -> Option<Self> {
        let text = Self::description(folder)?;
        let mut description: Description = serde_json::from_slice(&text).ok()?;
        let is_name = |name: &String| [SCRATCH.1, PACKAGE, FILES].contains(&name.as_str());
        if description.schema != SCHEMA || !description.disks.iter().all(is_name) {
            return None;
        }
        description.artifacts = description.artifacts.with_shape(description.shape.clone());
        Some(Self {
            folder: folder.to_owned(),
            description,
        })
    }

    /// Returns the id of the test's binary, and the test's name.
    pub(crate) fn test(&self) -> (&str, &str) {
        (&self.description.binary, &self.description.test)
    }

    /// Restores the guest, for programs of this kind of user, or else of the test's. Scratch files are in `work`.
    /// Fails if it was saved by another version, or what it was started from is gone.
    pub(crate) fn restore(
        &self,
        store: &Store,
        work: &WorkFolder,
        as_user: Option<UserKind>,
    ) -> Result<Box<dyn Session>, SavedError> {
        let Description {
            artifacts, guest, ..
        } = &self.description;
        let manifest = &artifacts.manifest;
        let held = store.lock(&mut Silent)?.hold(&self.folder);
        held.map_err(|error| at(&self.folder)(io::Error::other(error)))?;
        match manifest.hold() {
            // A file that is gone is an error of the guest's own, below.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            held => held.map_err(at(&manifest.qemu.program))?,
        }
        let scratch = work.path().join("scratch");
        let scratch = ScratchDir::new_in(&scratch).map_err(at(&scratch))?;
        let slots = guest_vm::warm::WarmStore::of(store).slots();
        let memory = memory::slot(&slots, artifacts.shape().taken_mib()).map_err(at(&slots))?;
        let own = scratch.path().join(SCRATCH.1);
        let kept = self.folder.join(SCRATCH.1);
        fs::copy(&kept, &own).map_err(at(&kept))?;
        let state = self.folder.join(STATE);
        let spec = artifacts.spec();
        let vm = Vm::restore_saved(manifest, &spec, guest, &state, |spec| {
            for name in &self.description.disks {
                let disk = match name == SCRATCH.1 {
                    true => scratch_disk(own.clone()),
                    false => image_disk(name, &self.folder.join(name)),
                };
                spec.cold_plug(&disk, &Placement::First)?;
            }
            Ok(())
        })?;
        let files = self.folder.join(FILES);
        let state = FileState::of(&files).map_err(at(&files))?;
        let guest = Guest {
            vm,
            memory,
            scratch,
            executable: (self.description.executable.clone(), state),
            directory: self.description.directory.clone(),
            environment: self.description.environment.clone(),
        };
        let user = match as_user {
            Some(UserKind::Root) => None,
            Some(UserKind::Unprivileged) => Some(user()),
            None => self.description.user,
        };
        Ok(Box::new(VmSession::restored(guest, user)))
    }
}

/// Quotes a name for a shell, if it needs that.
pub(crate) fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_:-./+=,".contains(c);
    match name.chars().all(is_plain) {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', r"'\''")),
    }
}

/// Moves a file, also to another file system.
fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            fs::copy(from, to)?;
            fs::remove_file(from)
        }
        moved => moved,
    }
}

#[cfg(test)]
mod tests {
    //! **Scope**: what is kept and removed. `tests/places` saves and restores guests.

    use super::*;

    /// Makes an entry with this description.
    fn entry(store: &Store, name: &str, description: &str) -> PathBuf {
        let folder = store.guests().join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(DESCRIPTION), description).unwrap();
        folder
    }

    #[test]
    fn guests_that_cannot_be_used_are_removed_unless_a_process_saves_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path());
        let lock = store.lock(&mut Silent).unwrap();
        let unfinished = entry(&store, "unfinished", "");
        let invalid = entry(&store, "invalid", r#"{"schema": 1}"#);
        let too_long = entry(&store, "long", "");
        let file = fs::File::options()
            .write(true)
            .open(too_long.join(DESCRIPTION));
        file.unwrap().set_len(MAX_DESCRIPTION + 1).unwrap();
        let linked = entry(&store, "linked", "");
        fs::remove_file(linked.join(DESCRIPTION)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", linked.join(DESCRIPTION)).unwrap();
        let gone = entry(&store, "gone", r#"{"schema": 2, "run": "/gone"}"#);
        let text = format!(r#"{{"schema": 2, "run": {:?}}}"#, folder.path());
        let of_another_version = entry(&store, "newer", &text);
        let saving = entry(&store, "saving", "");
        lock.hold(&saving).unwrap();
        assert!(SavedTest::sweep(&lock).is_empty());
        for removed in [unfinished, invalid, too_long, linked, gone] {
            assert!(!removed.exists(), "{}", removed.display());
        }
        assert!(saving.exists() && of_another_version.exists());
    }

    #[test]
    fn names_are_quoted_for_a_shell_if_need_be() {
        assert_eq!(quoted("a::b_1"), "a::b_1");
        assert_eq!(quoted("a b's"), r"'a b'\''s'");
    }
}
