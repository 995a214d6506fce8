//! Errors of templates and restores.

use std::path::PathBuf;
use std::time::Duration;

use crate::artifacts::FileError;

/// Why a guest could not be restored from a template.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WarmError {
    /// A file or folder of the store cannot be read or written.
    #[error(transparent)]
    Io(#[from] FileError),
    /// An input of the guest cannot be read.
    #[error("cannot read the inputs of the guest")]
    TemplateKey(#[source] std::io::Error),
    /// Another user owns the folder or can write to it.
    #[error(
        "{} belongs to another user, or others can write to it, so it is not used; remove it, and it is created \
         again",
        path.display()
    )]
    NotPrivate {
        /// The folder.
        path: PathBuf,
    },
    /// The disk has no room for a template.
    #[error(
        "a template needs up to {} MiB in {}, but only {} MiB are free",
        needed >> 20,
        path.display(),
        free >> 20
    )]
    NoRoom {
        /// The store.
        path: PathBuf,
        /// Needed bytes.
        needed: u64,
        /// Free bytes.
        free: u64,
    },
    /// Another process is still making the template.
    #[error(
        "another process did not finish the same template within {} s (lock: {})",
        timeout.as_secs(),
        path.display()
    )]
    LockTimeout {
        /// The lock.
        path: PathBuf,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// The guest could not be booted or saved.
    #[error("cannot make a template")]
    Create(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The guest could not be restored.
    #[error("cannot restore a guest from its template")]
    Restore(#[source] Box<dyn std::error::Error + Send + Sync>),
}
