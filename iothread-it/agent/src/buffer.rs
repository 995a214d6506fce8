//! Aligned memory for direct I/O.

/// The alignment of offsets, lengths and addresses of direct I/O, in bytes. No disk requires more.
pub(crate) const ALIGNMENT: usize = 4096;

/// A buffer whose address is aligned.
pub(crate) struct Buffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Buffer {
    pub(crate) fn new(length: usize) -> Self {
        let memory = vec![0; length + ALIGNMENT];
        // The vector never grows, so its bytes stay where they are.
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        Self {
            memory,
            start,
            length,
        }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_as_long_as_asked() {
        for length in [512, ALIGNMENT, 3 * ALIGNMENT + 512] {
            let mut buffer = Buffer::new(length);
            assert_eq!(buffer.bytes().as_ptr().align_offset(ALIGNMENT), 0);
            assert_eq!(buffer.bytes().len(), length);
        }
    }
}
