//! Finds the modules that the guest loads, with their dependencies, in load order.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};

use super::modinfo::{ModuleName, depends, release};
use crate::artifacts::{FileError, cannot};

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
    #[error(transparent)]
    Io(#[from] FileError),
    /// The kernel has no module and no built-in driver of this name.
    #[error(
        "the kernel in {} has no module or built-in driver `{name}`{}, which the guest needs; use another \
         kernel",
        directory.display(),
        option_of(name)
    )]
    Missing {
        /// The module.
        name: String,
        /// The kernel's module directory.
        directory: PathBuf,
    },
    /// The folder does not have what the kernel's build writes.
    #[error(
        "{} is not a folder of modules: it has no `modules.builtin`; name `lib/modules/VERSION`, as `make \
         modules_install` writes it",
        .0.display()
    )]
    NoList(PathBuf),
    /// The compression of the file is not supported.
    #[error(
        "the compression of {} is not supported; use a kernel with `.ko`, `.ko.gz`, `.ko.xz` or `.ko.zst` modules",
        .0.display()
    )]
    Compression(PathBuf),
    /// The file is not a kernel module.
    #[error("{} is not a kernel module", path.display())]
    NotAModule {
        /// The file.
        path: PathBuf,
        /// Why the ELF file cannot be parsed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Adds the path to an error of a file that is no module.
pub(super) fn no_module(path: &Path) -> impl FnOnce(object::Error) -> ModuleError {
    move |source| ModuleError::NotAModule {
        path: path.into(),
        source: source.into(),
    }
}

/// The options that make the drivers of the guest.
fn option_of(module: &str) -> String {
    let option = match module {
        "virtio_pci" | "virtio_blk" | "virtio_console" => module.to_uppercase(),
        "virtio_scsi" => "SCSI_VIRTIO".to_owned(),
        "sd_mod" => "BLK_DEV_SD".to_owned(),
        _ => return String::new(),
    };
    format!(" (CONFIG_{option})")
}

/// The folders of modules: the kernel's, and those that were added to it.
const FOLDERS: [&str; 3] = ["kernel", "updates", "extra"];

/// The largest module that is read, in bytes. Those with debugging information are large.
const MAX_MODULE: u64 = 1 << 30;

/// The modules of a kernel.
pub(crate) struct Tree {
    pub(super) directory: PathBuf,
    pub(super) files: BTreeMap<ModuleName, PathBuf>,
    built_in: BTreeSet<ModuleName>,
}

impl Tree {
    /// Reads a folder `lib/modules/VERSION`, or one that a kernel was built in.
    pub(crate) fn read(directory: &Path) -> Result<Self, ModuleError> {
        let list = directory.join("modules.builtin");
        if !list.is_file() {
            return Err(ModuleError::NoList(directory.into()));
        }
        let text = std::fs::read_to_string(&list).map_err(cannot("read", &list))?;
        let built_in = text.lines().filter_map(ModuleName::of_path).collect();
        let mut files = BTreeMap::new();
        if directory.join("arch/x86/boot").is_dir() {
            built_modules(directory, &mut files)?;
        } else {
            // A kernel may have no modules.
            let folders = FOLDERS.map(|folder| directory.join(folder)).into_iter();
            for folder in folders.filter(|folder| folder.is_dir()) {
                find_modules(&folder, &mut files)?;
            }
        }
        Ok(Self {
            directory: directory.into(),
            files,
            built_in,
        })
    }

    /// Returns the path of the list of what is built in.
    pub(super) fn list(&self) -> PathBuf {
        self.directory.join("modules.builtin")
    }

    /// Returns the files of the modules.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.values().map(PathBuf::as_path)
    }

    /// Returns whether there is a module, or it is built in.
    pub(crate) fn has(&self, module: &str) -> bool {
        let name = ModuleName::new(module);
        self.built_in.contains(&name) || self.files.contains_key(&name)
    }

    /// Returns the release of the kernel that a module was built for.
    pub(crate) fn release(&self) -> Result<Option<String>, ModuleError> {
        let Some(path) = self.files.values().next() else {
            return Ok(None);
        };
        release(&uncompressed(path)?).map_err(no_module(path))
    }

    /// Returns the wanted modules and their dependencies, dependencies first, without built-in ones.
    pub(super) fn closure(&self, wanted: &[&str]) -> Result<Vec<Module>, ModuleError> {
        let mut order = Vec::new();
        let mut visited = BTreeSet::new();
        for name in wanted {
            self.visit(&ModuleName::new(name), &mut visited, &mut order)?;
        }
        Ok(order)
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
        for needed in depends(&content).map_err(no_module(path))? {
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
    for entry in std::fs::read_dir(directory).map_err(cannot("read", directory))? {
        let entry = entry.map_err(cannot("read", directory))?;
        let path = entry.path();
        if entry.file_type().map_err(cannot("read", &path))?.is_dir() {
            find_modules(&path, files)?;
        } else if let Some(name) = entry.file_name().to_str().and_then(ModuleName::of_path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// Finds the modules that were built in a folder. Its `modules.order` has their paths, in older kernels
/// below `kernel/`, in newer ones those of the object files.
fn built_modules(
    directory: &Path,
    files: &mut BTreeMap<ModuleName, PathBuf>,
) -> Result<(), ModuleError> {
    let order = directory.join("modules.order");
    let text = match std::fs::read_to_string(&order) {
        // Nothing was built as a module.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        text => text.map_err(cannot("read", &order))?,
    };
    for line in text.lines() {
        let stem = line.trim_end_matches(".ko").trim_end_matches(".o");
        let is_inside = Path::new(stem)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        let found = [stem, stem.trim_start_matches("kernel/")]
            .map(|stem| directory.join(format!("{stem}.ko")))
            .into_iter()
            .find(|path| is_inside && path.is_file());
        // A list can be newer than the modules.
        if let (Some(path), Some(name)) = (found, ModuleName::of_path(&format!("{stem}.ko"))) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// Reads a module and decompresses it.
pub(super) fn uncompressed(path: &Path) -> Result<Vec<u8>, ModuleError> {
    let file = std::fs::File::open(path).map_err(cannot("read", path))?;
    let file = BufReader::new(file);
    let read = match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => all_of(file),
        Some("gz") => all_of(flate2::read::GzDecoder::new(file)),
        Some("xz") => all_of(lzma_rust2::XzReader::new(file, true)),
        Some("zst") => ruzstd::decoding::StreamingDecoder::new(file)
            .map_err(std::io::Error::other)
            .and_then(all_of),
        _ => return Err(ModuleError::Compression(path.into())),
    };
    Ok(read.map_err(cannot("read", path))?)
}

fn all_of(reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let read = reader.take(MAX_MODULE + 1).read_to_end(&mut content)?;
    match read as u64 > MAX_MODULE {
        true => Err(std::io::Error::other("it is larger than 1 GiB")),
        false => Ok(content),
    }
}

#[cfg(test)]
pub(crate) mod fixtures {
    //! Makes kernels for tests.

    /// The smallest ELF file with a section `.modinfo`.
    pub(crate) fn module(modinfo: &str) -> Vec<u8> {
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

    use super::fixtures::{module, tree};
    use super::*;

    fn closure(directory: &Path, wanted: &[&str]) -> Result<Vec<Module>, ModuleError> {
        Tree::read(directory)?.closure(wanted)
    }

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
    fn modules_are_found_in_the_folder_that_they_were_built_in() {
        let tree = tempfile::tempdir().unwrap();
        let put = |file: &str, content: &[u8]| {
            let path = tree.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        put("arch/x86/boot/bzImage", b"");
        put("modules.builtin", b"kernel/drivers/b.ko\n");
        put(
            "modules.order",
            b"kernel/drivers/a.ko\nfs/c.o\n../../x.ko\n/etc/y.ko\ngone.ko\n",
        );
        put("drivers/a.ko", &module("vermagic=6.1.2 SMP \0depends=c\0"));
        put("fs/c.ko", &module("depends=b\0"));
        let found = Tree::read(tree.path()).unwrap();
        assert!(found.has("a") && found.has("b") && found.files.len() == 2);
        assert_eq!(found.release().unwrap().as_deref(), Some("6.1.2"));
        assert_eq!(names(&found.closure(&["a"]).unwrap()), ["c", "a"]);
    }

    #[test]
    fn a_folder_without_the_list_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = Tree::read(folder.path()).err().unwrap().to_string();
        assert!(error.contains("modules_install"), "{error}");
    }

    #[test]
    fn compressed_modules_are_decompressed() {
        for (extension, bytes) in [("gz", GZ), ("xz", XZ), ("zst", ZST)] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(format!("a.ko.{extension}"));
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(uncompressed(&path).unwrap(), b"a module\n", "{extension}");
        }
    }

    /// Made by `gzip -n`.
    const GZ: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x54\xc8\xcd\x4f\x29\xcd\x49\xe5\x02\x00\x2e\xb6\x65\xce\x09\x00\x00\x00";
    /// Made by `xz --check=crc32`, which is how kernels are packed.
    const XZ: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x01\x69\x22\xde\x36\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\x08\x61\x20\x6d\x6f\x64\x75\x6c\x65\x0a\x00\x00\x00\x00\x2e\xb6\x65\xce\x00\x01\x1d\x09\x93\x61\x36\xa6\x90\x42\x99\x0d\x01\x00\x00\x00\x00\x01\x59\x5a";
    /// One raw block in a frame of its own.
    const ZST: &[u8] = b"\x28\xb5\x2f\xfd\x20\x09\x49\x00\x00\x61\x20\x6d\x6f\x64\x75\x6c\x65\x0a";
}
