//! Guests that have booted once: each test restores a copy of its own, in a tenth of the time.
//!
//! A template is two files. One is the guest's memory, written by the guest that booted
//! (`memory-backend-file`, `share=on`) and mapped privately by every guest restored from it
//! (`share=off`), so that what a guest writes stays its own and what it does not write is shared.
//! The other is the state of the devices, small, behind a header: what a migration sends if it may
//! leave out memory that is in a file (`x-ignore-shared`). Kata makes its VM templates so.
//!
//! | file in `target/iothread-it/warm` | what |
//! |---|---|
//! | `KEY.state` | header and devices; it makes a template of the two, so it is put there last |
//! | `KEY.ram` | memory |
//! | `KEY.hangs` | made by the first restore that succeeds; one byte for each that hung since |
//! | `KEY.lock` | locked by the process that makes, or removes, this template |
//! | `drafts/` | what is being made; what a killed process left goes with the next one made |
//!
//! Why guests were booted that were to be restored is noted in `warm-notes` beside it.
//!
//! [`Key`] covers everything that shapes a guest, so a template of another shape is never found.

mod entry;
mod error;
mod key;
mod notes;
mod restores;
mod store;

pub(crate) use entry::{Saved, Template};
pub use error::WarmError;
pub use key::Key;
pub(crate) use restores::RestoreOutcome;
pub use store::WarmStore;
