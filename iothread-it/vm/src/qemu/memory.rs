//! The guest's memory, and its NUMA nodes.

use std::fs::File;

use serde_json::json;

use super::ram::{DraftRam, TemplateRam};
use super::{VmSpec, inherited_fds};

/// The most NUMA nodes of a VM.
pub const MAX_NUMA_NODES: u32 = 8;

impl VmSpec {
    /// Returns the size of the guest's memory in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        u64::from(self.config.memory_mib) << 20
    }

    /// Returns the sizes of the memory of each NUMA node in bytes.
    pub(crate) fn memory_sizes(&self) -> Vec<u64> {
        let (all, nodes) = (self.config.memory_mib, self.numa_nodes);
        let rest = all % nodes;
        let mib = |node| all / nodes + if node == 0 { rest } else { 0 };
        (0..nodes).map(|node| u64::from(mib(node)) << 20).collect()
    }
}

/// The backend of the guest's memory.
#[derive(Debug)]
pub enum GuestMemory<'a> {
    /// Anonymous memory of the QEMU process.
    Anonymous,
    /// A shared mapping of a file, to make a template.
    Draft(&'a DraftRam),
    /// A private mapping of the memory of a template. QEMU waits for an incoming migration.
    Template(&'a TemplateRam),
    /// Anonymous memory, which an incoming migration fills. QEMU waits for it.
    Incoming {
        /// Whether the guest that was saved had a memory file: the memory then has that one's name.
        had_file: bool,
    },
}

impl GuestMemory<'_> {
    /// Returns whether QEMU waits for an incoming migration.
    pub(super) fn is_incoming(&self) -> bool {
        matches!(self, Self::Template(_) | Self::Incoming { .. })
    }

    /// Returns whether the memory has no name of its own, if there is one node.
    pub(super) fn is_unnamed(&self) -> bool {
        matches!(self, Self::Anonymous | Self::Incoming { had_file: false })
    }

    /// Returns the memory files, if there are any.
    pub(crate) fn files(&self) -> &[File] {
        match self {
            Self::Anonymous | Self::Incoming { .. } => &[],
            Self::Draft(ram) => ram.files(),
            Self::Template(ram) => ram.files(),
        }
    }
}

/// Describes the memory of a NUMA node.
pub(super) fn backend(
    id: &str,
    node: usize,
    size: u64,
    memory: &GuestMemory<'_>,
    opens_read_only: bool,
) -> serde_json::Value {
    let share = match memory {
        GuestMemory::Anonymous | GuestMemory::Incoming { .. } => {
            return json!({"qom-type": "memory-backend-ram", "id": id, "size": size});
        }
        GuestMemory::Draft(_) => true,
        GuestMemory::Template(_) => false,
    };
    let fd = inherited_fds::RAM as usize + node;
    let mut backend = json!({
        "qom-type": "memory-backend-file",
        "id": id,
        "mem-path": format!("/proc/self/fd/{fd}"),
        "size": size,
        "share": share,
    });
    // Before QEMU 8.2, `readonly=on` makes the memory read-only for the guest.
    if !share && opens_read_only {
        backend["readonly"] = true.into();
        backend["rom"] = "off".into();
    }
    backend
}
