//! Loads the kernel modules of the boot image.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::fatal::{Fatal, OrFatal};

/// The folder of the modules in the image, uncompressed and without subfolders.
const FOLDER: &str = "/lib/modules";

/// The file in [`FOLDER`] with the modules, one a line, each after its dependencies.
const ORDER: &str = "load-order";

/// Loads all modules in their order.
pub(crate) fn load_all() -> Result<(), Fatal> {
    let order = Path::new(FOLDER).join(ORDER);
    let text = fs::read_to_string(&order).or_fatal(|| format!("read {}", order.display()))?;
    names(&text).try_for_each(load)
}

/// Returns the file names in a load order.
fn names(order: &str) -> impl Iterator<Item = &str> {
    order.lines().map(str::trim).filter(|name| !name.is_empty())
}

fn load(name: &str) -> Result<(), Fatal> {
    let path = Path::new(FOLDER).join(name);
    let file = File::open(&path).or_fatal(|| format!("open module {}", path.display()))?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        // A kernel may have the module built in.
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(Errno::ENOENT) => Err(Fatal::new(format!(
            "cannot load module {name}: a symbol that it needs is in no module before it"
        ))),
        Err(error) => Err(error).or_fatal(|| format!("load module {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_are_skipped() {
        let order = "virtio.ko\n\n  virtio_ring.ko \r\n\n";
        assert!(names(order).eq(["virtio.ko", "virtio_ring.ko"]));
    }
}
