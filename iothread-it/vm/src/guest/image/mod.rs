//! The boot image: our agent as init, and the few kernel modules that it loads.
//!
//! | path | what |
//! |---|---|
//! | `/init` | the agent |
//! | `/dev`, `/proc`, `/sys`, `/tmp` | directories |
//! | `/dev/console` | so that init has somewhere to write before it mounts anything |
//! | `/lib/modules/NAME.ko` | modules, uncompressed and unsigned |
//! | `/lib/modules/load-order` | their file names, one a line, each after those that it needs |
//!
//! A guest that is a place for programs has the whole of its kernel's modules beside that, in
//! `/lib/modules/RELEASE` ([`with_modules`]).
//!
//! The archive itself is not compressed: an emulated CPU reads faster than it inflates.

mod archive;
mod build;
mod inputs;
mod modinfo;
mod modules;
mod signature;

pub use archive::with_modules;
pub use build::{ImageError, build};
pub use modules::ModuleError;
