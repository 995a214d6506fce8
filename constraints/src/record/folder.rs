//! Writes into folders that may be another user's.
//!
//! Root gives its files there to that user, so that records made under sudo do not obstruct a run
//! without it. Root follows no links there, not even ones made meanwhile: a folder is opened once and
//! used by its descriptor.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::libc::{O_DIRECTORY, O_NOFOLLOW};
use nix::unistd::geteuid;

/// A folder to write into.
#[derive(Debug)]
pub struct Folder {
    handle: File,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder, or makes it for the owner of its parent. Returns whether it is new.
    pub fn make(path: &Path) -> io::Result<(Self, bool)> {
        // Without a name it is `..` or the root, which are there.
        let Some((parent, name)) = path.parent().zip(path.file_name()) else {
            return Ok((Self::open(path, true)?, false));
        };
        Self::open(parent, true)?.folder(name)
    }

    /// The same for a folder in this one.
    pub fn folder(&self, name: impl AsRef<OsStr>) -> io::Result<(Self, bool)> {
        let name = name.as_ref();
        let path = self.at(name);
        let is_new = create_dir(&path)?;
        // A user may have put a link to a larger disk among that user's own folders.
        let follow = !is_new && !self.may_hold_links_of_others()?;
        let mut folder = match Self::open(&path, follow) {
            Err(_) if !follow && path.is_symlink() => {
                return Err(io::Error::other(
                    "it is a symbolic link, and root follows none in a folder that another user can write",
                ));
            }
            opened => opened?,
        };
        folder.path = self.path.join(name);
        if is_new {
            self.hand_over(&folder.handle)?;
        }
        Ok((folder, is_new))
    }

    /// Opens or makes a folder in this one, and opens no link in its place.
    pub fn make_inner(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = name.as_ref();
        let is_new = create_dir(&self.at(name))?;
        let inner = self.inner(name)?;
        if is_new {
            self.hand_over(&inner.handle)?;
        }
        Ok(inner)
    }

    /// Opens a folder in this one, and no link in its place.
    pub fn inner(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let mut folder = Self::open(&self.at(name.as_ref()), false)?;
        folder.path = self.path.join(name.as_ref());
        Ok(folder)
    }

    fn open(path: &Path, follow: bool) -> io::Result<Self> {
        let here = path == Path::new("");
        let path = if here { Path::new(".") } else { path };
        Ok(Self {
            handle: open(path, follow)?,
            path: path.to_owned(),
        })
    }

    /// Its path, for messages and for other processes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry, by the folder's descriptor. Only this process can use it.
    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        if cfg!(target_os = "linux") {
            let handle = self.handle.as_raw_fd();
            Path::new(&format!("/proc/self/fd/{handle}")).join(name)
        } else {
            self.path.join(name)
        }
    }

    /// Creates a new file to append to.
    pub fn create(&self, name: impl AsRef<Path>) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create_new(true).open(self.at(name))?;
        self.hand_over(&file)?;
        Ok(file)
    }

    /// Opens a file to append to, and creates it if necessary.
    pub fn append(&self, name: impl AsRef<Path> + Copy) -> io::Result<File> {
        match self.create(name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => OpenOptions::new()
                .append(true)
                .custom_flags(O_NOFOLLOW)
                .open(self.at(name)),
            created => created,
        }
    }

    /// Replaces a file atomically.
    pub fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let (count, pid) = (COUNT.fetch_add(1, Ordering::Relaxed), std::process::id());
        let unfinished = format!("{name}.{count}.{UNFINISHED}{pid}");
        // What a process of the same id has left when it was killed.
        let _ = fs::remove_file(self.at(&unfinished));
        self.create(&unfinished)?.write_all(content)?;
        fs::rename(self.at(&unfinished), self.at(name))
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            handle: self.handle.try_clone()?,
            path: self.path.clone(),
        })
    }

    /// Gives this folder to a user.
    pub(super) fn hand_to(&self, uid: u32, gid: u32) -> io::Result<()> {
        fchown(&self.handle, Some(uid), Some(gid))
    }

    /// Changes its permissions.
    pub(super) fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        self.handle.set_permissions(permissions)
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.handle.metadata()
    }

    /// Returns the user and the group that own it.
    pub(super) fn owner(&self) -> Option<(u32, u32)> {
        let data = self.handle.metadata().ok()?;
        Some((data.uid(), data.gid()))
    }

    /// Gives a file of this process to the folder's owner.
    pub fn hand_over(&self, made: impl AsFd) -> io::Result<()> {
        if !geteuid().is_root() {
            return Ok(());
        }
        let data = self.handle.metadata()?;
        match data.uid() {
            0 => Ok(()),
            uid => fchown(made, Some(uid), Some(data.gid())),
        }
    }

    /// Whether this process is root's and another user can put links into the folder.
    fn may_hold_links_of_others(&self) -> io::Result<bool> {
        if !geteuid().is_root() {
            return Ok(false);
        }
        let data = self.handle.metadata()?;
        Ok(data.uid() != 0 || data.mode() & 0o022 != 0)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// Makes a folder if it is not there, and returns whether it is new.
fn create_dir(path: &Path) -> io::Result<bool> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        made => made.map(|()| true),
    }
}

/// Opens a folder, and no link in its place.
pub(crate) fn open_folder(path: &Path) -> io::Result<File> {
    open(path, false)
}

fn open(path: &Path, follow: bool) -> io::Result<File> {
    let flags = if follow { 0 } else { O_NOFOLLOW };
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(O_DIRECTORY | flags)
        .open(path)
}

/// The extension of a file that is being written, before the writer's pid.
pub const UNFINISHED: &str = "unfinished-";
