//! Kernels: the header and the payload of an image, its release, and the configuration in it.

#![no_main]

#[allow(dead_code, reason = "the error is matched elsewhere")]
#[path = "../../../iothread-it/vm/src/guest/kernel/bzimage.rs"]
mod bzimage;
#[allow(dead_code, reason = "a VM uses the rest")]
#[path = "../../../iothread-it/vm/src/own_kernel/configuration.rs"]
mod configuration;
#[path = "../../../iothread-it/vm/src/own_kernel/image.rs"]
mod image;
#[path = "../../../iothread-it/vm/src/guest/kernel/pvh.rs"]
mod pvh;

use std::path::Path;

use configuration::Configuration;
use libfuzzer_sys::fuzz_target;

/// What the included files import.
mod guest {
    pub(crate) mod kernel {
        pub(crate) use crate::bzimage::{UnpackError, unpack};
        pub(crate) use crate::pvh::has_entry;
    }
}

#[derive(Debug)]
struct OwnKernelError;

mod files {
    use std::path::Path;

    use super::OwnKernelError;

    pub(super) fn read_within(_: &Path, _: u64) -> Result<Vec<u8>, OwnKernelError> {
        Err(OwnKernelError)
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(kernel) = bzimage::unpack(bytes) {
        // Wherever the payload ends, the size that it states stands there.
        let size = u32::try_from(kernel.len())
            .expect("a size of 32 bits")
            .to_le_bytes();
        assert!(bytes.windows(4).any(|bytes| bytes == size));
    }
    if let Ok(kernel) = image::parse(bytes) {
        // It becomes a part of a path.
        let release = &kernel.release;
        assert!((1..=64).contains(&release.len()), "{release}");
        assert!(release.starts_with(|c: char| c.is_ascii_digit()));
        assert!(!release.contains('/'), "{release}");
        // There is no such folder, so only the kernel itself can have one.
        let found = Configuration::find(&kernel, Path::new("/nonexistent/vmlinuz"), None);
        if let Some(found) = found.expect("no file is read") {
            assert_eq!(found.source, "the kernel (CONFIG_IKCONFIG)");
        }
    }
});
