//! Facts about a host: questions and answers, each answer with its source.
//!
//! Only this module observes the host. A question is answered when a test first needs it, and once a
//! process. Probes are harmless: they load, configure and leave behind nothing, and what could hang runs
//! in a child with a deadline.
//!
//! Facts are read through `system`, so that tests can put a made-up host in its place.

mod answer;
mod cgroup;
mod command;
mod container;
mod cpu;
#[cfg(target_os = "linux")]
mod device;
mod dispatch;
mod distro;
mod env;
mod here;
mod kconfig;
mod kernel_arg;
mod kvm;
mod module;
#[cfg(target_os = "linux")]
mod namespace;
mod network;
mod probe;
mod question;
mod resources;
mod system;
mod user;
mod virt;

pub use answer::{Answer, Finding, Host};
#[cfg(feature = "fuzzing")]
pub(crate) use command::first_version;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use dispatch::answer;
#[cfg(feature = "fuzzing")]
pub(crate) use distro::value as os_release_value;
#[doc(hidden)]
pub use env::ALLOW;
pub use here::Here;
#[doc(hidden)]
pub use here::{forget, many_threads, one_thread};
pub(crate) use kvm::hardware as kvm_hardware;
#[cfg(test)]
pub(crate) use kvm::measured as measured_kvm;
pub use kvm::{Kvm, kvm};
#[doc(hidden)]
pub use probe::panic_text;
pub use question::{Probe, Question};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use system::{Hypervisor, System, Uname};
