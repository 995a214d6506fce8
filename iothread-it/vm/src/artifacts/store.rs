//! The directory below cargo's target directory that holds all that is provisioned.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::progress::Progress;

/// How long another process may provision before we give up: a slow line takes minutes.
const PATIENCE: Duration = Duration::from_secs(40 * 60);

/// What half-written files are called until they are whole.
pub(super) const UNFINISHED_PREFIX: &str = ".unfinished-";

/// Where provisioned files lie.
#[derive(Debug, Clone)]
pub struct Store {
    base: PathBuf,
}

/// The right to change a [`Store`], held by one process at a time.
///
/// The kernel takes it back when its holder dies, so a killed run locks nobody out.
#[derive(Debug)]
#[must_use = "the store is free for others as soon as this is dropped"]
pub struct StoreLock {
    store: Store,
    _file: File,
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory of the store is out of reach.
    #[error("{} cannot be used", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Another process has held the lock for too long.
    #[error(
        "another process ({holder}) has held {} for {} minutes; stop it and try again",
        path.display(),
        PATIENCE.as_secs() / 60
    )]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote into it.
        holder: String,
    },
}

/// Turns a system's error into one that names the path.
pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    move |source| StoreError::Io {
        path: path.into(),
        source,
    }
}

impl Store {
    /// Returns the store in cargo's target directory.
    #[must_use]
    pub fn in_target(target: &Path) -> Self {
        Self {
            base: target.join("iothread-it"),
        }
    }

    /// Returns the store's directory.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Takes the lock, and waits for whoever holds it.
    pub(super) fn take(&self, progress: &mut dyn Progress) -> Result<StoreLock, StoreError> {
        std::fs::create_dir_all(&self.base).map_err(at(&self.base))?;
        let path = self.base.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path);
        let file = file.map_err(at(&path))?;
        let mut file = match file.try_lock() {
            Ok(()) => file,
            Err(TryLockError::WouldBlock) => wait_for(file, &path, progress)?,
            Err(TryLockError::Error(source)) => return Err(at(&path)(source)),
        };
        let name = format!("process {}", std::process::id());
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(name.as_bytes()));
        written.map_err(at(&path))?;
        Ok(StoreLock {
            store: self.clone(),
            _file: file,
        })
    }
}

/// Waits for whoever has the lock, and says so.
fn wait_for(mut file: File, path: &Path, progress: &mut dyn Progress) -> Result<File, StoreError> {
    let mut holder = String::new();
    let _ = file.read_to_string(&mut holder);
    let step = format!(
        "waiting for {holder}, which is provisioning (lock: {})",
        path.display()
    );
    progress.started(&step);
    let outcome = lock_by(file, PATIENCE);
    progress.finished();
    outcome.map_err(at(path))?.ok_or_else(|| StoreError::Busy {
        path: path.into(),
        holder,
    })
}

/// Locks a file, and waits so long for whoever has it. Returns nothing if that was not enough.
pub(crate) fn lock_by(file: File, patience: Duration) -> std::io::Result<Option<File>> {
    match file.try_lock() {
        Ok(()) => return Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let (sender, locked) = channel();
    // In a thread, since only a wait for a channel has an end.
    std::thread::spawn(move || {
        let result = file.lock();
        // Without a receiver the file is closed here, and the lock with it.
        let _ = sender.send((file, result));
    });
    match locked.recv_timeout(patience) {
        Ok((file, result)) => result.map(|()| Some(file)),
        Err(_) => Ok(None),
    }
}

impl StoreLock {
    /// Returns the store that is locked.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Makes a directory for work in progress, which the next run sweeps if this one is killed.
    pub(crate) fn staging(&self) -> Result<tempfile::TempDir, StoreError> {
        let path = self.staging_root();
        std::fs::create_dir_all(&path).map_err(at(&path))?;
        // Programs from packages are started from here, by other users' tests too.
        let directory = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in(&path);
        directory.map_err(at(&path))
    }

    pub(super) fn staging_root(&self) -> PathBuf {
        self.store.base.join("staging")
    }

    /// Where downloaded packages are kept, for all suites.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.store.base.join("debs")
    }
}

/// Writes a file so that its path holds the old content or the new one, never a part.
pub fn write_atomically(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::Builder::new()
        .prefix(UNFINISHED_PREFIX)
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)?;
    file.write_all(content)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    //! **Scope**: one process with two open files, which flock keeps apart like two processes.

    use std::sync::mpsc::Sender;

    use super::super::progress::Silent;
    use super::*;

    /// Passes on each step that starts.
    struct Tell(Sender<String>);

    impl Progress for Tell {
        fn started(&mut self, step: &str) {
            self.0.send(step.to_owned()).unwrap();
        }
        fn advanced(&mut self, _: f64) {}
        fn noted(&mut self, _: &str) {}
        fn finished(&mut self) {}
    }

    #[test]
    fn the_second_holder_waits_and_says_for_whom() {
        let target = tempfile::tempdir().unwrap();
        let store = Store::in_target(target.path());
        let first = store.lock(&mut Silent).unwrap();
        let (sender, receiver) = channel();
        let second = {
            let store = store.clone();
            std::thread::spawn(move || {
                drop(store.lock(&mut Tell(sender)).unwrap());
            })
        };
        let said = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(
            said.contains(&format!("process {}", std::process::id())),
            "{said}"
        );
        assert!(!second.is_finished());
        drop(first);
        second.join().unwrap();
    }

    #[test]
    fn an_atomic_write_leaves_one_file_that_others_may_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        write_atomically(&path, b"old").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        let plain = directory.path().join("plain");
        std::fs::write(&plain, "").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1
        );
    }

    #[test]
    fn a_store_that_cannot_be_made_is_named() {
        let error = Store::in_target(Path::new("/proc"))
            .lock(&mut Silent)
            .unwrap_err();
        assert!(error.to_string().contains("/proc/iothread-it"), "{error}");
    }
}
