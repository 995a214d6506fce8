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
}

/// Checks QEMU's rule for ids.
pub(super) fn check(text: &str) -> Result<(), IdError> {
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
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

/// The id of a device, a block export or a block node without a device: any that QEMU accepts.
///
/// QEMU limits node names to 31 characters and the serial of a virtio-blk disk to 20. Whoever uses one
/// id for all has to keep to that.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub struct DeviceId(String);

impl DeviceId {
    /// Checks an id.
    ///
    /// # Errors
    /// If QEMU would refuse it.
    pub fn new(id: impl Into<String>) -> Result<Self, IdError> {
        let id = id.into();
        check(&id)?;
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

        impl TryFrom<String> for $type {
            type Error = IdError;

            fn try_from(id: String) -> Result<Self, IdError> {
                Self::new(id)
            }
        }

        impl From<$type> for String {
            fn from(id: $type) -> Self {
                id.0
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
        let long = "virtio-drive-0123456789abcdef0123456789abcdef";
        for good in ["a", "disk0", "indep_iothread_0", "a.b-c_d", long] {
            assert!(IoThreadId::new(good).is_ok(), "{good}");
            assert!(DeviceId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "0a", "-a", "#block1", "a b", "a,b", "ä", "a/b"] {
            assert!(IoThreadId::new(bad).is_err(), "{bad}");
            assert!(DeviceId::new(bad).is_err(), "{bad}");
        }
    }
}
