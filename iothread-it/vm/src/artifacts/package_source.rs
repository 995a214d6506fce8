//! Where packages come from.

use super::debian_archive::DebianArchive;
use super::pins::Pins;

/// Where packages come from, and which versions are used.
#[derive(Debug, Clone, Default)]
pub struct PackageSource {
    /// The archive. Without one, it is that of the host's apt.
    pub archive: Option<DebianArchive>,
    /// The only packages that may be used.
    pub pins: Option<Pins>,
    /// Uses what the cache has, and no network.
    pub offline: bool,
    /// Asks the archive for its current versions, although the cache has earlier ones.
    pub fresh: bool,
}
