//! Ids that QEMU accepts, checked before QEMU sees them.

use std::fmt;

/// An invalid id.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdError {
    /// The text breaks QEMU's rule for ids (`id_wellformed`).
    #[error(
        "`{text}` is not a valid QEMU id: it must be a letter followed by letters, digits, `-`, `.` or `_`"
    )]
    Malformed {
        /// The text.
        text: String,
    },
    /// QEMU would truncate the id.
    #[error("`{text}` has {} characters, and QEMU truncates {what} to {limit}", text.len())]
    TooLong {
        /// The text.
        text: String,
        /// The use of the id.
        what: &'static str,
        /// The maximum number of characters.
        limit: usize,
    },
}

/// Checks QEMU's rule for ids.
fn check(text: &str) -> Result<(), IdError> {
    let mut characters = text.chars();
    let well_formed = characters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
    if well_formed {
        Ok(())
    } else {
        Err(IdError::Malformed {
            text: text.to_owned(),
        })
    }
}

/// What Kata's ids of independent IOThreads begin with.
const INDEP: &str = "indep_iothread_";

/// The id of an IOThread object.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IoThreadId(String);

impl IoThreadId {
    /// Checks an id.
    ///
    /// # Errors
    /// If QEMU would refuse it.
    pub fn new(id: impl Into<String>) -> Result<Self, IdError> {
        let id = id.into();
        check(&id)?;
        Ok(Self(id))
    }

    /// Returns the id of Kata's *n*th independent IOThread: `indep_iothread_N`.
    ///
    /// It has more characters than a thread's name can hold, so on the host such a thread is
    /// known by its number from `query-iothreads` only.
    pub fn indep(n: usize) -> Self {
        Self(format!("{INDEP}{n}"))
    }

    /// Returns *n* if this is the id of Kata's *n*th independent IOThread. A number that no pool
    /// reaches is none of these.
    pub fn indep_number(&self) -> Option<u32> {
        self.0.strip_prefix(INDEP)?.parse().ok()
    }

    /// Returns the id as QEMU takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of a disk: of its device, of its block node, and the serial that the guest reads.
///
/// One id for all three keeps them in step. The serial is the shortest: virtio-blk has 20 bytes
/// for it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(String);

impl DeviceId {
    /// Bytes in a virtio-blk serial (`VIRTIO_BLK_ID_BYTES`).
    pub const LIMIT: usize = 20;

    /// Checks an id.
    ///
    /// # Errors
    /// If QEMU would refuse it, or cut it.
    pub fn new(id: impl Into<String>) -> Result<Self, IdError> {
        let id = id.into();
        check(&id)?;
        if id.len() > Self::LIMIT {
            return Err(IdError::TooLong {
                text: id,
                what: "a disk's serial",
                limit: Self::LIMIT,
            });
        }
        Ok(Self(id))
    }

    /// Returns the id as QEMU takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! show {
    ($($type:ident),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self.0)
            }
        }
    )*};
}

show!(IoThreadId, DeviceId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_s_rule_for_ids() {
        for good in ["a", "disk0", "indep_iothread_0", "a.b-c_d"] {
            assert!(IoThreadId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "0a", "-a", "#block1", "a b", "a,b", "ä", "a/b"] {
            assert!(IoThreadId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn serial_that_would_be_truncated_is_refused() {
        assert!(DeviceId::new("a".repeat(20)).is_ok());
        let error = DeviceId::new("a".repeat(21)).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("QEMU truncates a disk's serial to 20")
        );
    }
}
