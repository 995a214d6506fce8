//! Fetches packages of the distribution with apt, and unpacks them without root.
//!
//! Archives, keys and proxies are those of the host's apt, or the user names an archive with its keyring.
//! apt verifies signatures; nothing here turns that off. All files that apt writes are in the store, so
//! the host's package lists, caches and hooks are neither used nor changed.

mod archive;
mod closure;
mod config;
mod downloads;
mod error;
mod host_sources;
mod kernels;
mod package_set;
mod paragraphs;
mod sources;
mod stamp;
#[cfg(test)]
mod tests;
mod unpack;

pub(super) use closure::Closure;
pub(crate) use downloads::hex;
pub use error::AptError;
pub(crate) use kernels::kernels;
pub use package_set::archive_suite;
pub(crate) use package_set::{PackageSet, Unpacked, ensure, ensure_offer, has_offer};
pub(crate) use paragraphs::has_kernel_files;
pub(crate) use unpack::unpack_package;
