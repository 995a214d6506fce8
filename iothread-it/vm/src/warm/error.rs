//! Why a guest is booted that was to be restored.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why there is no restored guest.
#[derive(Debug, thiserror::Error)]
pub enum WarmError {
    /// A file or folder of the store is out of reach.
    #[error("{} cannot be used", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file that the guest is made of is out of reach.
    #[error("cannot tell what the guest is made of")]
    Key(#[source] std::io::Error),
    /// Somebody else could change what our guests start from.
    #[error(
        "{} belongs to another user, or others may write to it; remove it, or run with `--cold`",
        path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// A template would fill the disk.
    #[error(
        "a warm VM takes up to {} MiB in {}, where {} MiB are free",
        needed >> 20,
        path.display(),
        free >> 20
    )]
    NoRoom {
        /// The store.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are there.
        free: u64,
    },
    /// Another process has not made the template in time.
    #[error(
        "another process has been making the same warm VM for {} s (lock: {})",
        patience.as_secs(),
        path.display()
    )]
    Busy {
        /// The lock.
        path: PathBuf,
        /// How long was waited.
        patience: Duration,
    },
    /// The guest did not boot, or could not be saved.
    #[error("a warm VM cannot be made")]
    Make(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The guest could not be restored.
    #[error("a warm VM cannot be restored")]
    Restore(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Turns a system's error into one that names the path.
pub(super) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> WarmError {
    let path = path.to_owned();
    move |source| WarmError::Io { path, source }
}
