//! Recognizes kernels of x86-64, and what is often taken for one.
//!
//! The header of a bzImage is described in the kernel's `Documentation/arch/x86/boot.rst`.

use std::borrow::Cow;

use object::elf::{EM_386, EM_AARCH64, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, ET_REL};

use crate::guest::kernel::{UnpackError, has_entry, unpack};

/// A kernel's file.
#[derive(Debug)]
pub(super) struct Image<'a> {
    /// Its release, as `uname -r` prints it.
    pub(super) release: String,
    bytes: &'a [u8],
}

/// What a file is instead of a kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAKernel {
    /// Empty.
    #[error("is empty")]
    Empty,
    /// A kernel of another architecture.
    #[error("is a kernel or program for {0}, and VMs are x86-64 machines")]
    Architecture(&'static str),
    /// A module.
    #[error("is a kernel module; name the kernel, and the folder of its modules by `--modules`")]
    Module,
    /// An ELF file that QEMU cannot enter.
    #[error(
        "is an ELF file without the entry for VMs: it is not a vmlinux, or was built without CONFIG_PVH; \
         name the bzImage that was built with it, or set the option"
    )]
    NoPvh,
    /// Compressed by a tool.
    #[error("is compressed by gzip; decompress it, or name the bzImage")]
    Gzip,
    /// A bzImage whose header is damaged or older than Linux 3.8.
    #[error("has the header of a bzImage, but {0}")]
    Header(&'static str),
    /// Anything else.
    #[error("is not a kernel; name a bzImage (`vmlinuz`, arch/x86/boot/bzImage) or a vmlinux")]
    Other,
}

/// Parses the header.
pub(super) fn parse(bytes: &[u8]) -> Result<Image<'_>, NotAKernel> {
    let at = |from: usize, text: &[u8]| bytes.get(from..).is_some_and(|b| b.starts_with(text));
    let release = if bytes.is_empty() {
        return Err(NotAKernel::Empty);
    } else if at(0, b"\x7fELF") {
        of_elf(bytes)?
    } else if at(0x202, b"HdrS") {
        of_bzimage(bytes)?
    } else if at(0x38, b"ARM\x64") {
        return Err(NotAKernel::Architecture("arm64"));
    } else if at(0x30, b"RISCV") || at(0x38, b"RSC\x05") {
        return Err(NotAKernel::Architecture("RISC-V"));
    } else if at(0, b"MZ") && at(4, b"zimg") {
        return Err(NotAKernel::Architecture("another architecture (EFI zboot)"));
    } else if at(0, b"\x1f\x8b") {
        return Err(NotAKernel::Gzip);
    } else {
        return Err(NotAKernel::Other);
    };
    Ok(Image { release, bytes })
}

impl Image<'_> {
    /// Returns the decompressed kernel.
    pub(super) fn unpacked(&self) -> Result<Cow<'_, [u8]>, UnpackError> {
        match self.bytes.starts_with(b"\x7fELF") {
            true => Ok(Cow::Borrowed(self.bytes)),
            false => unpack(self.bytes).map(Cow::Owned),
        }
    }
}

fn of_elf(bytes: &[u8]) -> Result<String, NotAKernel> {
    // The fields are at the same place in both classes. 2 is big endian.
    let is_big = bytes.get(5) == Some(&2);
    let field = |at: usize| {
        let field = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(match is_big {
            true => u16::from_be_bytes(field),
            false => u16::from_le_bytes(field),
        })
    };
    let machine = field(18).ok_or(NotAKernel::Other)?;
    let other = [
        (EM_AARCH64.0, "arm64"),
        (EM_RISCV.0, "RISC-V"),
        (EM_S390.0, "s390"),
        (EM_PPC64.0, "PowerPC"),
        (EM_386.0, "32-bit x86"),
    ];
    if let Some((_, name)) = other.iter().find(|(number, _)| *number == machine) {
        return Err(NotAKernel::Architecture(name));
    }
    if machine != EM_X86_64.0 {
        return Err(NotAKernel::Architecture("another architecture"));
    }
    if field(16) == Some(ET_REL.0) {
        return Err(NotAKernel::Module);
    }
    if !has_entry(bytes) {
        return Err(NotAKernel::NoPvh);
    }
    const BANNER: &[u8] = b"Linux version ";
    let found = find(bytes, BANNER, |rest| release_in(&rest[BANNER.len()..]));
    found.ok_or(NotAKernel::Other)
}

fn of_bzimage(bytes: &[u8]) -> Result<String, NotAKernel> {
    let number = |at: usize| {
        let bytes = bytes.get(at..at + 2)?;
        Some(u16::from_le_bytes(bytes.try_into().ok()?))
    };
    let version = number(0x206).ok_or(NotAKernel::Header("is truncated"))?;
    if version < 0x20c {
        return Err(NotAKernel::Header("is older than Linux 3.8"));
    }
    if number(0x236).is_none_or(|flags| flags & 1 == 0) {
        return Err(NotAKernel::Architecture("32-bit x86"));
    }
    let at = usize::from(number(0x20e).unwrap_or_default()) + 0x200;
    let release = bytes.get(at..).and_then(release_in);
    release.ok_or(NotAKernel::Header("has no release"))
}

/// Reads a release: a word that can be the name of a folder.
fn release_in(bytes: &[u8]) -> Option<String> {
    /// `UTS_RELEASE` has at most 64.
    const LONGEST: usize = 64;
    let is_letter = |byte: &&u8| byte.is_ascii_alphanumeric() || b"._+~-".contains(byte);
    let word: Vec<u8> = bytes.iter().take_while(is_letter).copied().collect();
    let is_release = word.first().is_some_and(u8::is_ascii_digit) && word.len() <= LONGEST;
    is_release.then(|| String::from_utf8_lossy(&word).into_owned())
}

/// Returns the first result for a place where `text` is.
pub(super) fn find<T>(bytes: &[u8], text: &[u8], found: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let first = *text.first()?;
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        rest = &rest[at..];
        if let Some(value) = rest.starts_with(text).then(|| found(rest)).flatten() {
            return Some(value);
        }
        rest = &rest[1..];
    }
    None
}

#[cfg(test)]
pub(super) mod fixtures {
    //! Makes the headers of kernels for tests.

    /// The header of a bzImage of this release.
    pub(in super::super) fn bzimage(release: &str) -> Vec<u8> {
        let mut image = vec![0; 0x400];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
        image[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
        image[0x236] = 1;
        image[0x300..0x300 + release.len()].copy_from_slice(release.as_bytes());
        image
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fixtures::bzimage;
    use super::*;

    fn problem(bytes: &[u8]) -> NotAKernel {
        parse(bytes).unwrap_err()
    }

    /// The header of an ELF file.
    fn elf(machine: u16, kind: u16) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[16..18].copy_from_slice(&kind.to_le_bytes());
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file
    }

    #[test]
    fn the_release_is_that_of_the_header() {
        let image = bzimage("6.1.0-56-cloud-amd64 (x@y) #1 SMP");
        assert_eq!(parse(&image).unwrap().release, "6.1.0-56-cloud-amd64");
        for odd in ["", "../../x", "six"] {
            let expected = NotAKernel::Header("has no release");
            assert_eq!(problem(&bzimage(odd)), expected, "{odd}");
        }
    }

    #[test]
    fn what_is_not_a_kernel_for_these_vms_is_named() {
        let mut arm = vec![0; 0x400];
        arm[0x38..0x3c].copy_from_slice(b"ARM\x64");
        let mut small = bzimage("6.1");
        small[0x236] = 0;
        let cases = [
            (Vec::new(), NotAKernel::Empty),
            (b"text".to_vec(), NotAKernel::Other),
            (arm, NotAKernel::Architecture("arm64")),
            (elf(EM_AARCH64.0, 2), NotAKernel::Architecture("arm64")),
            (small, NotAKernel::Architecture("32-bit x86")),
            (elf(EM_X86_64.0, ET_REL.0), NotAKernel::Module),
            (elf(EM_X86_64.0, 2), NotAKernel::NoPvh),
            (b"\x1f\x8b\x08".to_vec(), NotAKernel::Gzip),
            (
                bzimage("6.1")[..0x207].to_vec(),
                NotAKernel::Header("is truncated"),
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(problem(&bytes), expected);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(start in 0usize..4, bytes in prop::collection::vec(any::<u8>(), 0..1100)) {
            let mut bytes = bytes;
            let marks: [(usize, &[u8]); 4] = [(0, b""), (0, b"\x7fELF"), (0x202, b"HdrS"), (0, b"MZ")];
            let (at, mark) = marks[start];
            if let Some(place) = bytes.get_mut(at..at + mark.len()) {
                place.copy_from_slice(mark);
            }
            if let Ok(image) = parse(&bytes) {
                let _ = image.unpacked();
            }
        }
    }
}
