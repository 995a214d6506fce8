//! The kernel modules that the boot image brings.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::fatal::{Fatal, OrFatal};

/// Where the image has them, uncompressed and without folders.
const FOLDER: &str = "/lib/modules";

/// The file in [`FOLDER`] that names them, one a line, each after those that it needs.
const ORDER: &str = "load-order";

/// Loads them in their order.
pub(crate) fn load_all() -> Result<(), Fatal> {
    let order = Path::new(FOLDER).join(ORDER);
    let text = fs::read_to_string(&order).or_fatal(|| format!("read {}", order.display()))?;
    names(&text).try_for_each(load)
}

/// The file names in a load order.
fn names(order: &str) -> impl Iterator<Item = &str> {
    order.lines().map(str::trim).filter(|name| !name.is_empty())
}

fn load(name: &str) -> Result<(), Fatal> {
    let path = Path::new(FOLDER).join(name);
    let file = File::open(&path).or_fatal(|| format!("open module {}", path.display()))?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        // Another kernel may have built in what this image's list still names.
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(Errno::ENOENT) => Err(Fatal::new(format!(
            "cannot load module {name}: it needs something that no module before it brings"
        ))),
        Err(error) => Err(error).or_fatal(|| format!("load module {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_name_no_module() {
        let order = "virtio.ko\n\n  virtio_ring.ko \r\n\n";
        assert!(names(order).eq(["virtio.ko", "virtio_ring.ko"]));
    }
}
