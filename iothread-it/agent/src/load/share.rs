//! Divides the extent of a load among its threads.

use guest_agent::protocol::Load;

/// The part of an extent that one thread reads or writes, again and again. Shares do not overlap, and
/// their sizes differ by at most one block.
///
/// Consecutive operations are not on neighbouring blocks: the kernel would merge these, so that many
/// small operations became few large ones.
pub(crate) struct Share {
    start: u64,
    block_size: u64,
    blocks: u64,
    /// In blocks. It is coprime to their number, so that every block is visited.
    stride: u64,
    next: u64,
}

impl Share {
    /// Returns the share of a thread. The load has at least one block for each thread.
    pub(crate) fn new(load: &Load, thread: u32) -> Self {
        let blocks = u128::from(blocks(load));
        let at = |thread: u32| {
            let block = blocks * u128::from(thread) / u128::from(load.threads);
            u64::try_from(block).expect("a part of the blocks is no more than all")
        };
        let (first, blocks) = (at(thread), at(thread + 1) - at(thread));
        let block_size = u64::from(load.block_size);
        Self {
            start: load.extent.offset + first * block_size,
            block_size,
            blocks,
            stride: stride(blocks),
            next: 0,
        }
    }

    /// Returns the offset of the next operation.
    pub(crate) fn advance(&mut self) -> u64 {
        let place = self.start + self.next * self.block_size;
        self.next = (self.next + self.stride) % self.blocks;
        place
    }
}

/// A stride close to the golden section, whose multiples are far from each other.
fn stride(blocks: u64) -> u64 {
    let golden = blocks / 2 + blocks / 8;
    let mut below = (1..=golden).rev();
    below.find(|&n| gcd(n, blocks) == 1).unwrap_or(1)
}

fn gcd(one: u64, other: u64) -> u64 {
    if other == 0 {
        one
    } else {
        gcd(other, one % other)
    }
}

/// Returns the number of whole blocks in a load's extent. A rest at the end is not used.
pub(crate) fn blocks(load: &Load) -> u64 {
    load.extent.length / u64::from(load.block_size)
}

#[cfg(test)]
mod tests {
    use guest_agent::protocol::{Direction, Extent, Serial};
    use proptest::prelude::*;

    use super::*;

    /// Returns the offsets that a thread visits before the first one comes again.
    fn round(load: &Load, thread: u32) -> Vec<u64> {
        let mut share = Share::new(load, thread);
        let first = share.advance();
        let rest = std::iter::repeat_with(|| share.advance()).take_while(|&place| place != first);
        std::iter::once(first).chain(rest).collect()
    }

    proptest! {
        #[test]
        fn shares_touch_each_block_once_and_wrap_around(
            threads in 1_u32..=64,
            extra in 0_u64..300,
            rest in 0_u64..512,
        ) {
            let blocks = u64::from(threads) + extra;
            let load = Load {
                extent: Extent {
                    serial: Serial("d".into()),
                    seed: 0,
                    offset: 4096,
                    length: blocks * 512 + rest,
                },
                direction: Direction::Read,
                threads,
                cpus: Vec::new(),
                depth: 1,
                block_size: 512,
                duration_ms: 1,
                operations: None,
            };
            let rounds: Vec<_> = (0..threads).map(|thread| round(&load, thread)).collect();
            let lengths = || rounds.iter().map(Vec::len);
            prop_assert!(lengths().max().unwrap() - lengths().min().unwrap() <= 1);
            let expected: Vec<_> = (0..blocks).map(|block| 4096 + block * 512).collect();
            let mut visited = rounds.concat();
            visited.sort_unstable();
            prop_assert_eq!(visited, expected);
        }

        #[test]
        fn no_two_operations_in_a_row_are_neighbours(blocks in 8_u64..5000) {
            let stride = stride(blocks);
            prop_assert!((2..blocks - 1).contains(&stride), "{} of {}", stride, blocks);
        }
    }
}
