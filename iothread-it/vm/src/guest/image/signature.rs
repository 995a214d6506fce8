//! Modules without the signature that their distribution put behind them.
//!
//! A kernel checks a signature that is there and, unless it was built to insist
//! (`CONFIG_MODULE_SIG_FORCE`, which Debian's are not), loads a module that has none. An emulated
//! CPU spends millions of instructions on each: what that gains is in `qemu/boot.rs`.

/// How a signed module ends.
const MARK: &[u8] = b"~Module signature appended~\n";

/// What stands before the mark: eight bytes about the signature, and its length, high byte first.
const TRAILER: usize = 12;

/// Cuts the signature off, if there is a whole one.
pub(super) fn cut(module: &mut Vec<u8>) {
    if let Some(length) = unsigned_length(module) {
        module.truncate(length);
    }
}

fn unsigned_length(module: &[u8]) -> Option<usize> {
    let signed = module.strip_suffix(MARK)?;
    let (rest, trailer) = signed.split_at_checked(signed.len().checked_sub(TRAILER)?)?;
    let length = trailer.last_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.len().checked_sub(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(length: u32) -> Vec<u8> {
        let trailer = [&[0; 8][..], &length.to_be_bytes()].concat();
        [b"code", &b"signature"[..], &trailer, MARK].concat()
    }

    #[test]
    fn the_signature_goes_and_the_rest_stays() {
        let mut module = signed(9);
        cut(&mut module);
        assert_eq!(module, b"code");
        cut(&mut module);
        assert_eq!(module, b"code", "one that has none");
    }

    #[test]
    fn what_is_no_whole_signature_stays() {
        for odd in [signed(14), signed(u32::MAX), MARK.to_vec(), Vec::new()] {
            let mut module = odd.clone();
            cut(&mut module);
            assert_eq!(module, odd);
        }
    }
}
