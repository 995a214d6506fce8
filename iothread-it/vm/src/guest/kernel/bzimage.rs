//! Extracts the kernel from a bzImage (`vmlinuz`).
//!
//! The header is described in the kernel's `Documentation/arch/x86/boot.rst`.

use std::io::Read as _;

/// Why a kernel cannot be extracted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The file has no boot header of version 2.08 (Linux 2.6.26) or newer.
    #[error("it has no bzImage header with a payload")]
    NoBzImage,
    /// The payload exceeds the file.
    #[error("its payload is truncated")]
    Cut,
    /// The compression of the payload is not supported, or the payload is damaged.
    #[error("its payload {0}")]
    Payload(String),
}

/// The supported compression methods of `scripts/Makefile.lib`, by their first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Gzip,
    Lz4Legacy,
    Xz,
    Zstd,
}

const MAGICS: [(&[u8], Packing); 4] = [
    (b"\x1f\x8b", Packing::Gzip),
    (b"\x02\x21\x4c\x18", Packing::Lz4Legacy),
    (b"\xfd7zXZ\0", Packing::Xz),
    (b"\x28\xb5\x2f\xfd", Packing::Zstd),
];

/// Maximum decompressed size of a kernel.
const MAX_KERNEL: usize = 1 << 30;

/// Maximum decompressed size of a block in LZ4's legacy format.
const LZ4_BLOCK: usize = 8 << 20;

/// Extracts the kernel's ELF file from a bzImage.
pub(crate) fn unpack(image: &[u8]) -> Result<Vec<u8>, UnpackError> {
    let payload = payload(image)?;
    // The kernel build appends the decompressed size.
    let (packed, size) = payload.split_last_chunk::<4>().ok_or(UnpackError::Cut)?;
    let size = u32::from_le_bytes(*size) as usize;
    let bad = |what: String| UnpackError::Payload(what);
    if size > MAX_KERNEL {
        return Err(bad("is larger than 1 GiB".into()));
    }
    let known = MAGICS.iter().find(|(magic, _)| packed.starts_with(magic));
    let (_, packing) = known.ok_or_else(|| bad("has an unsupported compression".into()))?;
    let unpacked = match packing {
        Packing::Gzip => read(flate2::read::GzDecoder::new(packed), size),
        Packing::Lz4Legacy => lz4_legacy(&packed[4..], size),
        Packing::Xz => read(lzma_rust2::XzReader::new(packed, false), size),
        Packing::Zstd => ruzstd::decoding::StreamingDecoder::new(packed)
            .map_err(|error| error.to_string())
            .and_then(|decoder| read(decoder, size)),
    };
    let unpacked = unpacked.map_err(|why| bad(format!("cannot be decompressed: {why}")))?;
    if unpacked.len() != size {
        let found = unpacked.len();
        return Err(bad(format!(
            "decompresses to {found} bytes instead of {size}"
        )));
    }
    Ok(unpacked)
}

fn payload(image: &[u8]) -> Result<&[u8], UnpackError> {
    let number = |at: usize| {
        let bytes = image.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let header = || {
        let version = number(0x206)? & 0xffff;
        (image.get(0x202..0x206)? == b"HdrS" && version >= 0x208).then_some(())?;
        let setup_sectors = match *image.get(0x1f1)? {
            0 => 4,
            sectors => usize::from(sectors),
        };
        Some(((setup_sectors + 1) * 512 + number(0x248)?, number(0x24c)?))
    };
    let (start, length) = header().ok_or(UnpackError::NoBzImage)?;
    image.get(start..start + length).ok_or(UnpackError::Cut)
}

/// Decompresses blocks, each after its compressed size. The format has no end marker.
fn lz4_legacy(mut packed: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    while let Some((length, rest)) = packed.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let block = rest.get(..length).ok_or("a block is truncated")?;
        let block = lz4_flex::block::decompress(block, LZ4_BLOCK).map_err(|e| e.to_string())?;
        unpacked.extend(block);
        // Blocks shrink to a hundredth, so the image bounds nothing.
        if unpacked.len() > size {
            break;
        }
        packed = &rest[length..];
    }
    Ok(unpacked)
}

/// Reads at most one byte more than `size`.
fn read(reader: impl std::io::Read, size: usize) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    let mut reader = reader.take(size as u64 + 1);
    let result = reader.read_to_end(&mut unpacked);
    result.map(|_| unpacked).map_err(|error| error.to_string())
}

#[cfg(test)]
pub(super) mod fixtures {
    //! Makes images for tests.

    /// A bzImage around a payload that claims to unpack to `size` bytes.
    pub(in super::super) fn image(packed: &[u8], size: usize) -> Vec<u8> {
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
        let length = u32::try_from(packed.len() + 4).unwrap();
        image[0x24c..0x250].copy_from_slice(&length.to_le_bytes());
        image.extend(packed);
        image.extend(u32::try_from(size).unwrap().to_le_bytes());
        image
    }

    /// The form of `lz4 -l`.
    pub(in super::super) fn lz4(content: &[u8]) -> Vec<u8> {
        let mut packed = b"\x02\x21\x4c\x18".to_vec();
        for block in content.chunks(super::LZ4_BLOCK) {
            let block = literal(block);
            packed.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
            packed.extend(block);
        }
        packed
    }

    /// A block of LZ4 that is one run of literals.
    fn literal(content: &[u8]) -> Vec<u8> {
        let mut block = vec![0xf0];
        let mut rest = content.len().checked_sub(15).unwrap();
        while rest >= 255 {
            block.push(255);
            rest -= 255;
        }
        block.push(u8::try_from(rest).unwrap());
        block.extend(content);
        block
    }
}

#[cfg(test)]
mod tests {
    //! **Scope**: images made by the tests. Provisioning extracts the kernel of a distribution.

    use proptest::prelude::*;

    use super::fixtures::{image, lz4};
    use super::*;

    #[test]
    fn each_supported_compression_is_decompressed() {
        // More than a block, so that the second one is read too.
        let content: Vec<u8> = (0..LZ4_BLOCK + 300).map(|n| n as u8).collect();
        assert_eq!(
            unpack(&image(&lz4(&content), content.len())).as_ref(),
            Ok(&content)
        );
        for packed in [GZ, XZ, ZST] {
            assert_eq!(unpack(&image(packed, 9)).unwrap(), b"a module\n");
        }
    }

    #[test]
    fn truncated_and_unsupported_images_are_refused() {
        let whole = image(XZ, 9);
        for end in [0, 0x202, 0x24a, 1024, whole.len() - 1] {
            assert!(unpack(&whole[..end]).is_err(), "truncated at {end}");
        }
        let refusals = [
            (image(XZ, 8), "instead of 8"),
            (image(XZ, 10), "instead of 10"),
            (image(b"BZh9", 9), "unsupported compression"),
            (image(&XZ[..40], 9), "cannot be decompressed"),
        ];
        for (image, text) in refusals {
            let error = unpack(&image).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn decompression_ends_soon_after_the_stated_size() {
        let block = lz4(&vec![7; LZ4_BLOCK]);
        let blocks = [&block[..], &block[4..], &block[4..]].concat();
        let error = unpack(&image(&blocks, 10)).unwrap_err().to_string();
        let expected = format!("decompresses to {LZ4_BLOCK} bytes instead of 10");
        assert!(error.contains(&expected), "{error}");
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic(
            magic in prop::sample::select(MAGICS.map(|(magic, _)| magic).to_vec()),
            rest in prop::collection::vec(any::<u8>(), 0..200),
            size in 0..1000usize,
        ) {
            let _ = unpack(&image(&[magic, &rest].concat(), size));
        }
    }

    /// Made by `gzip -n`.
    const GZ: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x54\xc8\xcd\x4f\x29\xcd\x49\xe5\x02\x00\x2e\xb6\x65\xce\x09\x00\x00\x00";
    const XZ: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x01\x69\x22\xde\x36\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\x08\x61\x20\x6d\x6f\x64\x75\x6c\x65\x0a\x00\x00\x00\x00\x2e\xb6\x65\xce\x00\x01\x1d\x09\x93\x61\x36\xa6\x90\x42\x99\x0d\x01\x00\x00\x00\x00\x01\x59\x5a";
    const ZST: &[u8] = b"\x28\xb5\x2f\xfd\x20\x09\x49\x00\x00\x61\x20\x6d\x6f\x64\x75\x6c\x65\x0a";
}
