//! The needs that hold a value, a file a subject: what a text means, how it reads in a reason, and
//! what answers make of it.

pub(crate) mod cgroup;
pub(crate) mod cpu;
pub(crate) mod device;
pub(crate) mod distro;
pub(crate) mod env;
pub(crate) mod kconfig;
pub(crate) mod module;
pub(crate) mod namespace;
pub(crate) mod place;
pub(crate) mod size;
pub(crate) mod tool;
pub(crate) mod user;
pub(crate) mod vendor;
pub(crate) mod version;

pub use device::Device;
pub use distro::Distro;
pub use env::Variable;
pub use kconfig::Kconfig;
pub use size::Size;
pub use tool::Tool;
pub use user::Capability;
pub use vendor::Vendor;
pub use version::Versions;
