//! Structures of the kernel's interface, as in linux/kvm.h.

/// Offsets in the page that KVM shares: the exit reason, what belongs to it, and the data of two kinds.
pub(super) const REASON: usize = 8;
pub(super) const UNION: usize = 32;
pub(super) const IO_DATA: usize = 40;
pub(super) const MMIO_DATA: usize = 40;

#[repr(C)]
pub(super) struct MemoryRegion {
    pub(super) slot: u32,
    pub(super) flags: u32,
    pub(super) guest_phys_addr: u64,
    pub(super) memory_size: u64,
    pub(super) userspace_addr: u64,
}

#[repr(C)]
pub(super) struct DirtyLog {
    pub(super) slot: u32,
    pub(super) padding: u32,
    pub(super) bitmap: u64,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct Regs {
    /// rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8 to r15.
    pub(super) general: [u64; 16],
    pub(super) rip: u64,
    pub(super) rflags: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Segment {
    pub(super) base: u64,
    pub(super) limit: u32,
    pub(super) selector: u16,
    pub(super) kind: u8,
    pub(super) present: u8,
    pub(super) dpl: u8,
    pub(super) db: u8,
    pub(super) s: u8,
    pub(super) l: u8,
    pub(super) g: u8,
    pub(super) avl: u8,
    pub(super) unusable: u8,
    pub(super) padding: u8,
}

#[repr(C)]
pub(super) struct Sregs {
    /// cs, ds, es, fs, gs, ss, tr, ldt.
    pub(super) segments: [Segment; 8],
    pub(super) tables: [[u64; 2]; 2],
    pub(super) cr0: u64,
    pub(super) cr2: u64,
    pub(super) cr3: u64,
    pub(super) cr4: u64,
    pub(super) cr8: u64,
    pub(super) efer: u64,
    pub(super) apic_base: u64,
    pub(super) interrupt_bitmap: [u64; 4],
}

/// The most entries that KVM returns.
const ENTRIES: usize = 256;

/// One leaf of CPUID.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Leaf {
    pub(super) function: u32,
    index: u32,
    flags: u32,
    pub(super) eax: u32,
    pub(super) ebx: u32,
    pub(super) ecx: u32,
    pub(super) edx: u32,
    padding: [u32; 3],
}

#[repr(C)]
pub(super) struct Cpuid {
    count: u32,
    padding: u32,
    leaves: [Leaf; ENTRIES],
}

impl Cpuid {
    /// Room for the kernel's answer.
    pub(super) fn empty() -> Self {
        Self {
            count: ENTRIES as u32,
            padding: 0,
            leaves: [Leaf::default(); ENTRIES],
        }
    }

    pub(super) fn leaf(&self, function: u32) -> Option<&Leaf> {
        let leaves = self.leaves.get(..self.count as usize)?;
        leaves.iter().find(|leaf| leaf.function == function)
    }
}
