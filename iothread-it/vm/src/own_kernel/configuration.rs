//! The configuration that a kernel was built with: in the kernel (`CONFIG_IKCONFIG`), or in a file beside
//! it or its modules.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::OwnKernelError;
use super::files;
use super::image::{Image, find};

/// The start of the configuration in a kernel; it is compressed by gzip.
const START: &[u8] = b"IKCFG_ST\x1f\x8b";

/// The length of the start without gzip's own mark.
const MARK: usize = 8;

/// The maximum size of a configuration. That of a kernel for all machines has a quarter of a mebibyte.
const MAX_BYTES: u64 = 4 << 20;

/// The configuration of a kernel.
#[derive(Debug)]
pub(super) struct Configuration {
    values: BTreeMap<String, Value>,
    /// Where it was read.
    pub(super) source: String,
}

/// The value of an option that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    BuiltIn,
    Module,
}

impl Configuration {
    /// Finds the configuration. The one in the kernel is what it was built with; a file may have changed.
    pub(super) fn find(
        kernel: &Image<'_>,
        image: &Path,
        modules: Option<&Path>,
    ) -> Result<Option<Self>, OwnKernelError> {
        // A kernel that cannot be decompressed can still boot.
        let unpacked = kernel.unpacked().ok();
        if let Some(text) = unpacked.and_then(|kernel| embedded(&kernel)) {
            return Ok(Some(Self::parse(
                &text,
                "the kernel (CONFIG_IKCONFIG)".into(),
            )));
        }
        for path in candidates(image, modules, &kernel.release) {
            if path.is_file() {
                let text = files::read_within(&path, MAX_BYTES)?;
                let text = String::from_utf8_lossy(&text);
                return Ok(Some(Self::parse(&text, path.display().to_string())));
            }
        }
        Ok(None)
    }

    pub(super) fn parse(text: &str, source: String) -> Self {
        let lines = text.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
            let value = match value.trim() {
                "y" => Value::BuiltIn,
                "m" => Value::Module,
                _ => return None,
            };
            Some((name.to_owned(), value))
        });
        Self {
            values: lines.collect(),
            source,
        }
    }

    pub(super) fn of(&self, option: &str) -> Option<Value> {
        self.values.get(option).copied()
    }
}

/// Returns where distributions, `make install` and the build put a kernel's configuration.
fn candidates(image: &Path, modules: Option<&Path>, release: &str) -> Vec<PathBuf> {
    let folder = image.parent().unwrap_or(Path::new("."));
    let mut found = vec![folder.join(format!("config-{release}"))];
    if folder.ends_with("arch/x86/boot") || folder.ends_with("arch/x86_64/boot") {
        found.push(folder.join("../../../.config"));
    } else {
        found.push(folder.join(".config"));
    }
    found.push(folder.join("config"));
    if let Some(folder) = modules {
        // Some packages have it with the modules, and others in the folder `boot` of the same root.
        found.push(folder.join("config"));
        found.push(folder.join(format!("../../../boot/config-{release}")));
        found.push(folder.join(format!("../../../../boot/config-{release}")));
    }
    found
}

/// Returns the configuration in a decompressed kernel.
fn embedded(kernel: &[u8]) -> Option<String> {
    find(kernel, START, |rest| {
        let mut text = String::new();
        let decoder = flate2::read::GzDecoder::new(&rest[MARK..]);
        let read = decoder.take(MAX_BYTES).read_to_string(&mut text);
        (read.is_ok() && text.contains("CONFIG_")).then_some(text)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn options_that_are_set_are_read() {
        let text = "# comment\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\nCONFIG_D=\"y\"\nCONFIG_E=12\n";
        let config = Configuration::parse(text, String::new());
        let found = ["A", "B", "C", "D", "E"].map(|name| config.of(name));
        let expected = [Some(Value::BuiltIn), None, Some(Value::Module), None, None];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_configuration_in_a_kernel_is_found() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"CONFIG_A=y\n").unwrap();
        let packed = encoder.finish().unwrap();
        // The mark is also in other places, such as in a module that is built in.
        let kernel = [
            b"IIKCFG_ST\0 IKCFG_ST\x1f\x8b broken IKCFG_ST",
            &*packed,
            b"IKCFG_ED",
        ]
        .concat();
        assert_eq!(embedded(&kernel).as_deref(), Some("CONFIG_A=y\n"));
        assert_eq!(embedded(&kernel[..20]), None);
    }
}
