//! Removes the signatures of modules.
//!
//! A kernel without `CONFIG_MODULE_SIG_FORCE`, such as Debian's, loads modules without a signature.
//! The check of a signature takes an emulated CPU millions of instructions; `qemu/boot.rs` has the
//! measured gain.

/// The last bytes of a signed module.
const SIGNATURE_MARKER: &[u8] = b"~Module signature appended~\n";

/// Length of `struct module_signature` before the marker. Its last four bytes are the length of the
/// signature, big endian.
const TRAILER_LEN: usize = 12;

/// Removes the signature if it is complete.
pub(super) fn cut(module: &mut Vec<u8>) {
    if let Some(length) = unsigned_length(module) {
        module.truncate(length);
    }
}

fn unsigned_length(module: &[u8]) -> Option<usize> {
    let signed = module.strip_suffix(SIGNATURE_MARKER)?;
    let (rest, trailer) = signed.split_at_checked(signed.len().checked_sub(TRAILER_LEN)?)?;
    let length = trailer.last_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.len().checked_sub(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(length: u32) -> Vec<u8> {
        let trailer = [&[0; 8][..], &length.to_be_bytes()].concat();
        [b"code", &b"signature"[..], &trailer, SIGNATURE_MARKER].concat()
    }

    #[test]
    fn only_the_signature_is_removed() {
        let mut module = signed(9);
        cut(&mut module);
        assert_eq!(module, b"code");
        cut(&mut module);
        assert_eq!(module, b"code", "one that has none");
    }

    #[test]
    fn incomplete_signatures_are_kept() {
        for odd in [
            signed(14),
            signed(u32::MAX),
            SIGNATURE_MARKER.to_vec(),
            Vec::new(),
        ] {
            let mut module = odd.clone();
            cut(&mut module);
            assert_eq!(module, odd);
        }
    }
}
