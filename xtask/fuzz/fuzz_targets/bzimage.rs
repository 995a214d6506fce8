//! The header and the payload of a kernel image.

#![no_main]

#[allow(dead_code, reason = "the error is matched elsewhere")]
#[path = "../../../iothread-it/vm/src/guest/kernel/bzimage.rs"]
mod bzimage;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|image: &[u8]| {
    if let Ok(kernel) = bzimage::unpack(image) {
        // Wherever the payload ends, the size that it states stands there.
        let size = u32::try_from(kernel.len())
            .expect("a size of 32 bits")
            .to_le_bytes();
        assert!(image.windows(4).any(|bytes| bytes == size));
    }
});
