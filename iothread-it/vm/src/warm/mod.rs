//! Warm VMs: a guest boots once, is saved as a template, and is restored in a tenth of the boot time.
//!
//! A template is two files. The first is the memory of the guest, written by the guest that booted
//! (`memory-backend-file`, `share=on`) and mapped privately by each clone (`share=off`), so that clones
//! share the pages that they do not write. The second is the state of the devices: a migration stream
//! without the memory (`x-ignore-shared`). Kata makes its VM templates in the same way.
//!
//! | file in the cache's folder `warm` | content |
//! |---|---|
//! | `KEY.state` | header and state of the devices; written last, because it makes the template valid |
//! | `KEY.ram` | memory of the guest; of further NUMA nodes in `KEY.ram1` and so on |
//! | `KEY.hangs` | made by the first successful restore; one byte for each hang since the last one |
//! | `KEY.lock` | locked by the process that makes or removes the template |
//! | `drafts/` | unfinished templates; those of killed processes are removed when the next one is made |
//!
//! The folder `warm-notes` beside it contains the reasons why guests were booted instead of restored.
//!
//! [`TemplateKey`] covers every input of a guest, so a template is never used for another spec.

mod error;
mod fallback_notes;
mod key;
mod restores;
mod store;
mod template;

pub use error::WarmError;
pub use key::TemplateKey;
pub(crate) use restores::RestoreOutcome;
pub(crate) use store::StoredTemplate;
pub use store::WarmStore;
pub(crate) use template::{SavedState, Template, is_ours};
