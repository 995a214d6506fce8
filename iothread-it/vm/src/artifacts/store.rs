//! The store: the cache folder of a user, with packages, kernels, QEMU and images.

use std::cell::RefCell;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::apt::Closure;
use super::held;
use super::location::{self, CACHE_ENV};
use super::package_source::PackageSource;
use super::pins::Pins;
use super::progress::Progress;
use super::size::{InvalidSize, parse_size};
use super::sweep::remove_tree;

/// How long to wait for another process that provisions: slow downloads take minutes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(40 * 60);

/// Prefix of the names of unfinished files.
pub(super) const UNFINISHED_PREFIX: &str = ".unfinished-";

/// Environment variable with the maximum size of the cache.
const LIMIT_ENV: &str = "KATA_TEST_CACHE_MAX";

/// The maximum size in bytes without that variable: the VMs of eight places.
const DEFAULT_LIMIT: u64 = 10_000_000_000;

/// A folder of provisioned files.
#[derive(Debug, Clone)]
pub struct Store {
    base: PathBuf,
    limit: u64,
    source: PackageSource,
}

/// The lock on a [`Store`], which is needed to change it.
///
/// The kernel releases it when the process ends.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct StoreLock {
    store: Store,
    /// The sets of packages that were provided: name, suite and packages.
    provided: RefCell<Vec<(String, String, Closure)>>,
    _file: File,
}

/// Why the store cannot be read, written or locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No variable names a folder for caches.
    #[error(
        "cannot find the cache folder: neither `HOME` nor `XDG_CACHE_HOME` is set to an absolute path; \
         set {CACHE_ENV} to a folder of this user"
    )]
    NoHome,
    /// The variable contains a relative path.
    #[error("{CACHE_ENV} is `{}`; set it to an absolute path", .0.display())]
    Relative(PathBuf),
    /// The maximum size is invalid.
    #[error("{LIMIT_ENV} is invalid")]
    Limit(#[from] InvalidSize),
    /// The cache folder, or the folder to make it in, belongs to another user.
    #[error(
        "{} belongs to user {owner}, and this is user {user}; set {CACHE_ENV} to a folder of this \
         user, or `HOME` to this user's home",
        path.display()
    )]
    OtherUser {
        /// The folder.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
        /// The user id of this process.
        user: u32,
    },
    /// Other users can write to the cache folder.
    #[error(
        "other users can write to {}, and so could change what VMs run; run `chmod go-w {}`, or set \
         {CACHE_ENV} to another folder",
        .0.display(),
        .0.display()
    )]
    WritableByOthers(PathBuf),
    /// A file or directory of the store cannot be read or written.
    #[error("cannot access {}{}", path.display(), step(source.kind()))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system call.
        source: std::io::Error,
    },
    /// Another process holds the lock.
    #[error(
        "another process ({holder}) has locked {} for {} minutes; stop it and try again",
        path.display(),
        LOCK_TIMEOUT.as_secs() / 60
    )]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// The process, as written to the lock file.
        holder: String,
    },
}

/// What to do about an error of the file system, if that is known.
fn step(kind: std::io::ErrorKind) -> String {
    use std::io::ErrorKind as Kind;
    match kind {
        Kind::StorageFull | Kind::QuotaExceeded => format!(
            "; free some space (`cargo kata-test cache prune --max 2G`), or set {CACHE_ENV} to a folder on a larger \
             file system"
        ),
        Kind::PermissionDenied
        | Kind::ReadOnlyFilesystem
        | Kind::NotFound
        | Kind::NotADirectory => {
            format!("; set {CACHE_ENV} to a folder that this user can write")
        }
        _ => String::new(),
    }
}

/// Adds the path to an error of a system call.
pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    move |source| StoreError::Io {
        path: path.into(),
        source,
    }
}

impl Store {
    /// Returns the store of this user: the folder in [`CACHE_ENV`], or else `kata-test` in the user's
    /// folder for caches. It may not exist yet.
    ///
    /// # Errors
    /// If no folder is known, or if another user owns it or can write to it.
    pub fn of_user() -> Result<Self, StoreError> {
        let base = location::folder(|name| std::env::var_os(name))?;
        location::check(&base)?;
        let limit = std::env::var_os(LIMIT_ENV).filter(|text| !text.is_empty());
        let limit = limit.map(|text| parse_size(&text.to_string_lossy()));
        Ok(Self {
            limit: limit.transpose()?.unwrap_or(DEFAULT_LIMIT),
            ..Self::at(&base)
        })
    }

    /// Returns the store in a folder.
    #[must_use]
    pub fn at(base: &Path) -> Self {
        Self {
            base: base.into(),
            limit: DEFAULT_LIMIT,
            source: PackageSource::default(),
        }
    }

    /// Sets where packages come from.
    #[must_use]
    pub fn with_source(self, source: PackageSource) -> Self {
        Self { source, ..self }
    }

    /// Returns the maximum size in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn source(&self) -> &PackageSource {
        &self.source
    }

    /// Returns whether nothing may be fetched.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.source.offline
    }

    /// Returns the folder.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    pub(crate) fn packages(&self) -> PathBuf {
        self.base.join("packages")
    }

    /// Returns the folder with a folder for each kernel's images.
    pub(crate) fn images(&self) -> PathBuf {
        self.base.join("images")
    }

    /// Returns the folder with a folder for each guest agent.
    #[must_use]
    pub fn agents(&self) -> PathBuf {
        self.base.join("agents")
    }

    /// Returns the folder with a folder for each saved guest.
    #[must_use]
    pub fn guests(&self) -> PathBuf {
        self.base.join("guests")
    }

    /// Locks the store. Waits if another process holds the lock.
    pub(super) fn take(&self, progress: &mut dyn Progress) -> Result<StoreLock, StoreError> {
        location::make(&self.base)?;
        location::check(&self.base)?;
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
            provided: RefCell::default(),
            _file: file,
        })
    }
}

/// Waits for the lock and reports that as progress.
fn wait_for(mut file: File, path: &Path, progress: &mut dyn Progress) -> Result<File, StoreError> {
    let mut holder = String::new();
    let _ = file.read_to_string(&mut holder);
    let step = format!(
        "waiting for {holder}, which is provisioning (lock: {})",
        path.display()
    );
    progress.started(&step);
    let outcome = lock_within(file, LOCK_TIMEOUT);
    progress.finished();
    outcome.map_err(at(path))?.ok_or_else(|| StoreError::Busy {
        path: path.into(),
        holder,
    })
}

/// Locks a file. Returns `None` if another process still holds the lock after `timeout`.
///
/// # Errors
/// If the file cannot be locked.
pub fn lock_within(file: File, timeout: Duration) -> std::io::Result<Option<File>> {
    within(file, timeout, File::try_lock, File::lock)
}

/// Locks a file as one of several holders. Returns `None` as [`lock_within`] does.
pub(super) fn lock_shared_within(file: File, timeout: Duration) -> std::io::Result<Option<File>> {
    within(file, timeout, File::try_lock_shared, File::lock_shared)
}

fn within(
    file: File,
    timeout: Duration,
    try_lock: fn(&File) -> Result<(), TryLockError>,
    lock: fn(&File) -> std::io::Result<()>,
) -> std::io::Result<Option<File>> {
    match try_lock(&file) {
        Ok(()) => return Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let (sender, locked) = channel();
    // In a thread, because `flock` has no timeout.
    std::thread::spawn(move || {
        let result = lock(&file);
        // After the timeout the file is closed here, which releases the lock.
        let _ = sender.send((file, result));
    });
    match locked.recv_timeout(timeout) {
        Ok((file, result)) => result.map(|()| Some(file)),
        Err(_) => Ok(None),
    }
}

impl StoreLock {
    /// Returns the locked store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Makes a directory for unfinished files. If this process is killed, the next one removes it.
    pub(crate) fn staging(&self) -> Result<tempfile::TempDir, StoreError> {
        let path = self.staging_root();
        location::make(&path)?;
        // Tests of other users also start programs from here.
        let directory = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in(&path);
        directory.map_err(at(&path))
    }

    /// Makes the folder of an entry if it is missing, and marks it as in use until this process ends.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn hold(&self, entry: &Path) -> Result<(), StoreError> {
        location::make(entry)?;
        held::hold(entry).map_err(at(entry))
    }

    /// Removes an entry, unless a process uses it. Returns whether it is removed.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove_entry(&self, entry: &Path) -> Result<bool, StoreError> {
        let Some(_unused) = held::lock_unused(entry).map_err(at(entry))? else {
            return Ok(false);
        };
        // Renamed first: an entry is complete or absent.
        let staging = self.staging()?;
        std::fs::rename(entry, staging.path().join("entry")).map_err(at(entry))?;
        staging.close().map_err(at(entry))?;
        Ok(true)
    }

    /// Removes downloaded packages.
    pub(crate) fn remove_downloads(&self) -> Result<(), StoreError> {
        remove_tree(&self.downloads())
    }

    /// Notes a set of packages that was provided.
    pub(super) fn note_provided(&self, name: &str, suite: &str, closure: &Closure) {
        let set = (name.to_owned(), suite.to_owned(), closure.clone());
        self.provided.borrow_mut().push(set);
    }

    /// Returns pins for the packages that were provided under this lock.
    #[must_use]
    pub fn pins(&self) -> Pins {
        Pins::new(&self.provided.borrow())
    }

    pub(super) fn staging_root(&self) -> PathBuf {
        self.store.base.join("staging")
    }

    /// Returns the directory of downloaded packages of all suites.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.store.base.join("debs")
    }
}

/// Writes a file atomically: readers see the old or the new content.
pub fn write_atomically(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::Builder::new()
        .prefix(UNFINISHED_PREFIX)
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(directory)?;
    file.write_all(content)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    //! **Scope**: two open files of one process, which `flock` treats like two processes.

    use std::sync::mpsc::Sender;

    use super::super::progress::Silent;
    use super::*;

    /// Sends each started step.
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
    fn a_second_lock_waits_and_names_the_holder() {
        let target = tempfile::tempdir().unwrap();
        let store = Store::at(target.path());
        let first = store.lock(&mut Silent).unwrap();
        let (sender, receiver) = channel();
        let second = {
            let store = store.clone();
            std::thread::spawn(move || {
                drop(store.lock(&mut Tell(sender)).unwrap());
            })
        };
        let step = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(
            step.contains(&format!("process {}", std::process::id())),
            "{step}"
        );
        assert!(!second.is_finished());
        drop(first);
        second.join().unwrap();
    }

    #[test]
    fn an_atomic_write_leaves_one_file_readable_by_others() {
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
    fn the_error_names_a_store_that_cannot_be_made() {
        let error = Store::at(Path::new("/proc/cache"))
            .lock(&mut Silent)
            .unwrap_err();
        assert!(error.to_string().contains("/proc/cache"), "{error}");
    }
}
