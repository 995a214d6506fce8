//! Finds the PVH entry of a kernel: QEMU enters an ELF kernel at the address in this ELF note.

use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};

/// `XEN_ELFNOTE_PHYS32_ENTRY`, of owner `Xen` (the kernel's `include/xen/interface/elfnote.h`).
const PHYS32_ENTRY: u32 = 18;

/// Returns whether a kernel has the note.
pub(crate) fn has_entry(kernel: &[u8]) -> bool {
    let Ok(file) = ElfFile64::<object::Endianness>::parse(kernel) else {
        return false;
    };
    let endian = file.endian();
    let segments = file.elf_program_headers().iter();
    let notes = segments.filter_map(|segment| segment.notes(endian, kernel).ok().flatten());
    notes.flatten().filter_map(Result::ok).any(|note| {
        note.name() == b"Xen"
            && note.n_type(endian).0 == PHYS32_ENTRY
            && file.elf_header().e_machine(endian) == object::elf::EM_X86_64
    })
}

#[cfg(test)]
pub(super) mod fixtures {
    //! **Scope**: kernels made by the tests.

    /// The smallest ELF file with a note of this owner and kind.
    pub(super) fn with_note(owner: &[u8; 4], kind: u32, rest: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 120];
        file[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        file[16] = 2; // executable
        file[18] = 62; // x86-64
        file[20] = 1;
        file[32] = 64; // where program headers begin
        file[52] = 64; // size of this header
        file[54] = 56; // size of a program header
        file[56] = 1; // program headers
        file[64] = 4; // a segment of notes
        let at = file.len() as u64;
        let note: Vec<u8> = [4u32, 8, kind]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .chain(owner.iter().copied())
            .chain([0; 8])
            .collect();
        file[72..80].copy_from_slice(&at.to_le_bytes());
        file[96..104].copy_from_slice(&(note.len() as u64).to_le_bytes());
        file[112] = 4; // alignment
        file.extend(note);
        file.extend(rest);
        file
    }

    pub(in super::super) fn kernel(rest: &[u8]) -> Vec<u8> {
        with_note(b"Xen\0", super::PHYS32_ENTRY, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::{kernel, with_note};
    use super::*;

    #[test]
    fn only_the_xen_note_with_an_address_is_an_entry() {
        assert!(has_entry(&kernel(b"")));
        assert!(!has_entry(&with_note(b"Xen\0", 6, b"")));
        assert!(!has_entry(&with_note(b"GNU\0", PHYS32_ENTRY, b"")));
        assert!(!has_entry(b"\x7fELF"));
        let mut foreign = kernel(b"");
        foreign[18] = 183;
        assert!(!has_entry(&foreign));
    }
}
