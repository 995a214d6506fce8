//! Finds the modules that the guest loads, with their dependencies, in load order.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::modinfo::{ModuleName, depends};

/// A module for the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) name: ModuleName,
    /// The file it was read from.
    pub(super) path: PathBuf,
    /// The decompressed file.
    pub(super) content: Vec<u8>,
}

/// Why a kernel's modules cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// A file or directory cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system call.
        source: std::io::Error,
    },
    /// The kernel has no module and no built-in driver of this name.
    #[error(
        "the kernel in {} has no module or built-in driver `{name}`, which the guest needs; use another \
         kernel",
        directory.display()
    )]
    Missing {
        /// The module.
        name: String,
        /// The kernel's module directory.
        directory: PathBuf,
    },
    /// The compression of the file is not supported.
    #[error("the compression of {} is not supported; use a kernel with `.ko`, `.ko.xz` or `.ko.zst` modules", path.display())]
    Compression {
        /// The module.
        path: PathBuf,
    },
    /// The file is not a kernel module.
    #[error("{} is not a kernel module", path.display())]
    NotAModule {
        /// The file.
        path: PathBuf,
        /// Why the ELF file cannot be parsed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Returns the wanted modules and their dependencies, dependencies first, without built-in ones.
pub(super) fn closure(directory: &Path, wanted: &[&str]) -> Result<Vec<Module>, ModuleError> {
    let tree = Tree::read(directory)?;
    let mut order = Vec::new();
    let mut visited = BTreeSet::new();
    for name in wanted {
        tree.visit(&ModuleName::new(name), &mut visited, &mut order)?;
    }
    Ok(order)
}

/// The modules of a kernel.
pub(super) struct Tree {
    directory: PathBuf,
    pub(super) files: BTreeMap<ModuleName, PathBuf>,
    built_in: BTreeSet<ModuleName>,
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> ModuleError {
    move |source| ModuleError::Io {
        path: path.into(),
        source,
    }
}

impl Tree {
    pub(super) fn read(directory: &Path) -> Result<Self, ModuleError> {
        let list = directory.join("modules.builtin");
        let text = std::fs::read_to_string(&list).map_err(at(&list))?;
        let built_in = text.lines().filter_map(ModuleName::of_path).collect();
        let mut files = BTreeMap::new();
        let kernel = directory.join("kernel");
        // A kernel may have no modules.
        if kernel.is_dir() {
            find_modules(&kernel, &mut files)?;
        }
        Ok(Self {
            directory: directory.into(),
            files,
            built_in,
        })
    }

    /// Appends a module after its dependencies (depth first).
    fn visit(
        &self,
        name: &ModuleName,
        visited: &mut BTreeSet<ModuleName>,
        order: &mut Vec<Module>,
    ) -> Result<(), ModuleError> {
        if self.built_in.contains(name) || !visited.insert(name.clone()) {
            return Ok(());
        }
        let path = self.files.get(name).ok_or_else(|| ModuleError::Missing {
            name: name.as_str().to_owned(),
            directory: self.directory.clone(),
        })?;
        let content = uncompressed(path)?;
        let needed = depends(&content).map_err(|source| ModuleError::NotAModule {
            path: path.clone(),
            source: source.into(),
        })?;
        for needed in needed {
            self.visit(&needed, visited, order)?;
        }
        order.push(Module {
            name: name.clone(),
            path: path.clone(),
            content,
        });
        Ok(())
    }
}

fn find_modules(
    directory: &Path,
    files: &mut BTreeMap<ModuleName, PathBuf>,
) -> Result<(), ModuleError> {
    for entry in std::fs::read_dir(directory).map_err(at(directory))? {
        let entry = entry.map_err(at(directory))?;
        let path = entry.path();
        if entry.file_type().map_err(at(&path))?.is_dir() {
            find_modules(&path, files)?;
        } else if let Some(name) = entry.file_name().to_str().and_then(ModuleName::of_path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// Reads a module and decompresses it.
pub(super) fn uncompressed(path: &Path) -> Result<Vec<u8>, ModuleError> {
    let file = std::fs::File::open(path).map_err(at(path))?;
    let file = BufReader::new(file);
    let mut content = Vec::new();
    let read = match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => { file }.read_to_end(&mut content),
        Some("xz") => lzma_rust2::XzReader::new(file, true).read_to_end(&mut content),
        Some("zst") => ruzstd::decoding::StreamingDecoder::new(file)
            .map_err(std::io::Error::other)
            .and_then(|mut decoder| decoder.read_to_end(&mut content)),
        _ => return Err(ModuleError::Compression { path: path.into() }),
    };
    read.map_err(at(path))?;
    Ok(content)
}

#[cfg(test)]
pub(super) mod fixtures {
    //! Makes kernels for tests.

    /// The smallest ELF file with a section `.modinfo`.
    pub(in super::super) fn module(modinfo: &str) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut file = vec![0; 64];
        file[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        file[16] = 1; // relocatable
        file[18] = 62; // x86-64
        file[20] = 1;
        file[52] = 64; // size of this header
        file[58] = 64; // size of a section's header
        file[60] = 3; // sections
        file[62] = 2; // the section with names
        let modinfo_at = file.len() as u64;
        file.extend(modinfo.bytes());
        let names_at = file.len() as u64;
        file.extend(names);
        let sections_at = file.len() as u64;
        file[40..48].copy_from_slice(&sections_at.to_le_bytes());
        let mut section = |name: u32, kind: u32, at: u64, size: u64| {
            file.extend(name.to_le_bytes());
            file.extend(kind.to_le_bytes());
            for value in [0, 0, at, size, 0, 1, 0] {
                file.extend(value.to_le_bytes());
            }
        };
        section(0, 0, 0, 0);
        section(1, 1, modinfo_at, modinfo.len() as u64);
        section(10, 3, names_at, names.len() as u64);
        // The link and info fields share eight bytes, and so do not upset the layout above.
        file
    }

    pub(in super::super) fn tree(modules: &[(&str, &str)], built_in: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("modules.builtin"), built_in).unwrap();
        for (file, depends) in modules {
            let path = directory.path().join("kernel/drivers").join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, module(&format!("license=GPL\0depends={depends}\0"))).unwrap();
        }
        directory
    }
}

#[cfg(test)]
mod tests {
    //! **Scope**: modules that consist of the section `.modinfo`.

    use super::fixtures::tree;
    use super::*;

    fn names(modules: &[Module]) -> Vec<&str> {
        modules.iter().map(|module| module.name.as_str()).collect()
    }

    const VIRTIO: [(&str, &str); 4] = [
        ("virtio/virtio.ko", "virtio_ring"),
        ("virtio/virtio_ring.ko", ""),
        ("virtio/virtio-pci.ko", "virtio-ring,virtio,built-in"),
        ("block/virtio_blk.ko", "virtio,virtio_ring"),
    ];

    #[test]
    fn each_module_follows_its_dependencies_once() {
        let tree = tree(&VIRTIO, "kernel/x/built_in.ko\n");
        let modules = closure(tree.path(), &["virtio_pci", "virtio_blk", "virtio-blk"]).unwrap();
        assert_eq!(
            names(&modules),
            ["virtio_ring", "virtio", "virtio_pci", "virtio_blk"]
        );
    }

    #[test]
    fn built_in_modules_are_left_out() {
        let tree = tree(
            &[("virtio_blk.ko", "virtio")],
            "kernel/virtio/virtio.ko\nkernel/x/virtio-pci.ko\n",
        );
        let modules = closure(tree.path(), &["virtio_pci", "virtio_blk"]).unwrap();
        assert_eq!(names(&modules), ["virtio_blk"]);
    }

    #[test]
    fn circular_dependencies_are_accepted() {
        let tree = tree(&[("a.ko", "b"), ("b.ko", "a")], "");
        assert_eq!(names(&closure(tree.path(), &["a"]).unwrap()), ["b", "a"]);
    }

    #[test]
    fn the_error_names_the_missing_module() {
        let tree = tree(&[("a.ko", "gone")], "");
        let error = closure(tree.path(), &["a"]).unwrap_err();
        assert!(
            matches!(&error, ModuleError::Missing { name, .. } if name == "gone"),
            "{error}"
        );
    }

    #[test]
    fn unsupported_files_are_refused() {
        let tree = tree(&[("a.ko.br", "")], "");
        assert!(matches!(
            closure(tree.path(), &["a"]),
            Err(ModuleError::Compression { .. })
        ));
        std::fs::write(tree.path().join("kernel/drivers/b.ko"), "text").unwrap();
        assert!(matches!(
            closure(tree.path(), &["b"]),
            Err(ModuleError::NotAModule { .. })
        ));
        std::fs::write(tree.path().join("kernel/drivers/c.ko.xz"), "text").unwrap();
        assert!(matches!(
            closure(tree.path(), &["c"]),
            Err(ModuleError::Io { .. })
        ));
    }

    #[test]
    fn compressed_modules_are_decompressed() {
        for (extension, bytes) in [("xz", XZ), ("zst", ZST)] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(format!("a.ko.{extension}"));
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(uncompressed(&path).unwrap(), b"a module\n", "{extension}");
        }
    }

    /// Made by `xz --check=crc32`, which is how kernels are packed.
    const XZ: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x01\x69\x22\xde\x36\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\x08\x61\x20\x6d\x6f\x64\x75\x6c\x65\x0a\x00\x00\x00\x00\x2e\xb6\x65\xce\x00\x01\x1d\x09\x93\x61\x36\xa6\x90\x42\x99\x0d\x01\x00\x00\x00\x00\x01\x59\x5a";
    /// One raw block in a frame of its own.
    const ZST: &[u8] = b"\x28\xb5\x2f\xfd\x20\x09\x49\x00\x00\x61\x20\x6d\x6f\x64\x75\x6c\x65\x0a";
}
