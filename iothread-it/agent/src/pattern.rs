//! The pattern that verifies data: each 8-byte word is computed from a seed and the word's offset.
//!
//! So a block that was never written, was written elsewhere, or belongs to another disk is a mismatch,
//! and both sides can compute the expected bytes without keeping them.

/// The size of a word of the pattern, in bytes. Offsets and lengths are multiples of it.
pub const WORD: usize = 8;

/// Fills a buffer with the pattern at `offset`, in bytes.
///
/// # Panics
///
/// If offset or length is not a multiple of [`WORD`].
pub fn fill(seed: u64, offset: u64, buffer: &mut [u8]) {
    check_aligned(offset, buffer.len());
    for (place, word) in (offset..).step_by(WORD).zip(buffer.chunks_exact_mut(WORD)) {
        word.copy_from_slice(&word_at(seed, place));
    }
}

/// Returns the offset of the first word of `buffer` that differs from the pattern, in bytes from the start
/// of the disk.
///
/// # Panics
///
/// If offset or length is not a multiple of [`WORD`].
pub fn first_mismatch(seed: u64, offset: u64, buffer: &[u8]) -> Option<u64> {
    check_aligned(offset, buffer.len());
    (offset..)
        .step_by(WORD)
        .zip(buffer.chunks_exact(WORD))
        .find(|(place, word)| *word != word_at(seed, *place))
        .map(|(place, _)| place)
}

fn check_aligned(offset: u64, length: usize) {
    assert!(
        offset.is_multiple_of(WORD as u64) && length.is_multiple_of(WORD),
        "offset {offset} and length {length} are not multiples of {WORD}"
    );
}

/// Computes a word by a step of SplitMix64, so that neighbouring offsets have unrelated words.
fn word_at(seed: u64, place: u64) -> [u8; WORD] {
    let mut mixed = seed.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_whole() {
        let mut whole = [0; 64];
        fill(3, 4096, &mut whole);
        let mut pieces = [0; 64];
        fill(3, 4096, &mut pieces[..24]);
        fill(3, 4096 + 24, &mut pieces[24..]);
        assert_eq!(whole, pieces);
        assert_eq!(first_mismatch(3, 4096, &whole), None);
    }

    #[test]
    fn another_seed_another_offset_and_a_flipped_bit_are_mismatches() {
        let mut buffer = [0; 64];
        fill(3, 0, &mut buffer);
        assert_eq!(first_mismatch(4, 0, &buffer), Some(0));
        assert_eq!(first_mismatch(3, 8, &buffer), Some(8));
        buffer[40] ^= 1;
        assert_eq!(first_mismatch(3, 0, &buffer), Some(40));
    }

    #[test]
    fn zeros_are_not_the_pattern() {
        assert_eq!(first_mismatch(0, 8, &[0; 8]), Some(8));
    }
}
