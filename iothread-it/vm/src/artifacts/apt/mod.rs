//! Packages of the distribution, fetched and unpacked without root by an apt of our own.
//!
//! The host's apt says where its archive is and how to reach it; everything that apt writes goes
//! below the store, so the host's package lists, caches and hooks are neither used nor touched.

mod archive;
mod closure;
mod config;
mod debs;
mod error;
#[cfg(test)]
mod fake;
mod host;
mod install;
mod sources;
mod stamp;
mod unpack;

pub(crate) use debs::hex;
pub use error::AptError;
pub(crate) use install::{PackageSet, Unpacked, ensure};
