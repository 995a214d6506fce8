//! The captured output of a test: its beginning and its end.

use std::collections::VecDeque;

/// How many bytes of the beginning, and of the end, are kept.
const KEPT: usize = 256 * 1024;

/// Output of any length in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Output {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped: u64,
}

impl Output {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(KEPT - self.head.len()));
        self.head.extend_from_slice(head);
        // Of more bytes than the tail holds, only the end stays.
        let (skipped, rest) = rest.split_at(rest.len().saturating_sub(KEPT));
        let surplus = (self.tail.len() + rest.len()).saturating_sub(KEPT);
        self.tail.drain(..surplus.min(self.tail.len()));
        self.tail.extend(rest);
        self.dropped += (skipped.len() + surplus) as u64;
    }

    /// The bytes, with a line where some were dropped.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        if self.dropped > 0 {
            let note = format!("\n[{} bytes of output dropped here]\n", self.dropped);
            self.head.extend_from_slice(note.as_bytes());
        }
        self.head.extend(self.tail);
        self.head
    }
}

#[cfg(test)]
mod tests {
    //! Scope: what is kept of a sequence of writes.

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn beginning_and_end_are_kept_and_the_rest_is_counted(
            lengths in prop::collection::vec(0..KEPT, 0..12),
        ) {
            let mut output = Output::default();
            let mut all = Vec::new();
            for (index, length) in lengths.into_iter().enumerate() {
                let bytes: Vec<u8> = (0..length).map(|at| b'a' + ((at + index) % 26) as u8).collect();
                output.push(&bytes);
                all.extend(bytes);
                prop_assert!(output.head.len() <= KEPT && output.tail.len() <= KEPT);
            }
            let kept = output.into_bytes();
            if all.len() <= 2 * KEPT {
                prop_assert_eq!(kept, all);
            } else {
                prop_assert!(kept.starts_with(&all[..KEPT]) && kept.ends_with(&all[all.len() - KEPT..]));
                let note = format!("\n[{} bytes of output dropped here]\n", all.len() - 2 * KEPT);
                prop_assert_eq!(&kept[KEPT..kept.len() - KEPT], note.as_bytes());
            }
        }
    }
}
