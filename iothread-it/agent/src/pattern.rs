//! Bytes that can be told from all others: each 8-byte word follows from a seed and its place.
//!
//! So a block that was never written, was written elsewhere, or belongs to another disk shows as
//! a mismatch, and both sides can compute what must be there without keeping it.

/// Bytes in a word of the pattern. Offsets and lengths are multiples of it.
pub const WORD: usize = 8;

/// Fills a buffer with what belongs at `offset`, in bytes.
///
/// # Panics
/// If offset or length is no multiple of [`WORD`].
pub fn fill(seed: u64, offset: u64, buffer: &mut [u8]) {
    check_aligned(offset, buffer.len());
    for (place, word) in (offset..).step_by(WORD).zip(buffer.chunks_exact_mut(WORD)) {
        word.copy_from_slice(&word_at(seed, place));
    }
}

/// Returns the place of the first word of `buffer` that is not the pattern's, in bytes from the
/// start of the disk.
///
/// # Panics
/// If offset or length is no multiple of [`WORD`].
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
        "the pattern is made of whole words"
    );
}

/// One step of SplitMix64: neighbouring places give unrelated words.
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
    fn another_seed_another_place_and_a_flipped_bit_all_show() {
        let mut buffer = [0; 64];
        fill(3, 0, &mut buffer);
        assert_eq!(first_mismatch(4, 0, &buffer), Some(0));
        assert_eq!(first_mismatch(3, 8, &buffer), Some(8));
        buffer[40] ^= 1;
        assert_eq!(first_mismatch(3, 0, &buffer), Some(40));
    }

    #[test]
    fn what_was_never_written_is_not_the_pattern() {
        assert_eq!(first_mismatch(0, 8, &[0; 8]), Some(8));
    }
}
