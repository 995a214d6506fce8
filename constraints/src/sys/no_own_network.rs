//! Other systems than Linux have no network namespaces, and the constraint is never met there.

/// A network namespace, which there is not.
#[derive(Debug)]
pub(crate) enum OwnNetwork {}

impl OwnNetwork {
    /// Fails.
    pub(crate) fn enter() -> Result<Self, String> {
        Err("no network of its own: this system is not Linux".to_owned())
    }
}
