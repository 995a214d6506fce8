//! Appends all modules of a kernel to a boot image, with the lists for `modprobe`, and a shell and tools.
//!
//! Places use this image. Packages do not contain `modules.dep` and `modules.alias`: distributions make
//! them during installation. Linux unpacks concatenated archives one after the other, so that the
//! modules are in the initial root file system, and in the memory of templates.
//!
//! Modules are decompressed here once, because not every kernel can, and emulated CPUs are slow.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::ImageError;
use super::modinfo::{ModuleName, aliases, depends};
use super::modules::{Tree, no_module, uncompressed};
use crate::artifacts::{FileState, GuestImage, KernelInstall, Origin, Progress, Tools, cannot};
use crate::cpio::Archive;
use crate::guest::built_file;

/// Version of the layout. Images of another version are rebuilt.
pub(super) const LAYOUT: u32 = 2;

/// Writes the boot image `out`: that of `plain`, all modules of the same kernel, and tools. An image from the
/// same inputs is kept.
///
/// # Errors
/// If a module cannot be read, or the image cannot be written.
pub fn with_modules(
    plain: &GuestImage,
    kernel: &KernelInstall,
    tools: Option<&Tools>,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<GuestImage, ImageError> {
    let unusable = || cannot("write the boot image", out);
    let made = GuestImage {
        initramfs: out.to_owned(),
        ..plain.clone()
    };
    let program = tools.map(|tools| tools.program.clone());
    let key = (
        LAYOUT,
        kernel.modules.clone(),
        plain.initramfs.clone(),
        program.clone(),
    );
    if built_file::is_current(out, &key) {
        return Ok(made);
    }
    let tree = kernel.modules.as_deref().map(Tree::read).transpose()?;
    let mut inputs = vec![plain.initramfs.clone()];
    inputs.extend(program);
    inputs.extend(tree.as_ref().map(Tree::list));
    if let (Some(tree), Origin::Files { .. }) = (&tree, &kernel.origin) {
        inputs.extend(tree.files.values().cloned());
    }
    // Of a package, `modules.builtin` stands for all files.
    let inputs = inputs
        .iter()
        .map(|path| FileState::of(path).map_err(unusable()));
    let inputs = inputs.collect::<Result<_, _>>()?;
    progress.started(&format!("packing the modules of {}", kernel.release));
    let packed = pack(tree.as_ref(), &kernel.release).and_then(|mut archive| {
        tools.map_or(Ok(()), |tools| {
            add_tools(&mut archive, tools).map_err(unusable())
        })?;
        Ok(archive)
    });
    progress.finished();
    let mut bytes = std::fs::read(&plain.initramfs).map_err(unusable())?;
    // Archives start at a multiple of four.
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(packed?.to_bytes());
    built_file::write(out, &bytes, key, inputs).map_err(unusable())?;
    Ok(made)
}

fn add_tools(archive: &mut Archive, tools: &Tools) -> std::io::Result<()> {
    archive.file_below("bin/busybox", 0o755, std::fs::read(&tools.program)?);
    let names = tools.names.join("\n");
    archive.file_below("bin/applets", 0o644, names.into_bytes());
    Ok(())
}

/// A kernel without modules has lists without entries.
fn pack(tree: Option<&Tree>, release: &str) -> Result<Archive, ImageError> {
    let folder = format!("lib/modules/{release}");
    let files = tree.iter().flat_map(|tree| &tree.files);
    let mut archive = Archive::default();
    let mut needs = BTreeMap::new();
    let mut alias_list = String::new();
    for (name, path) in files.clone() {
        let content = uncompressed(path)?;
        needs.insert(name.clone(), depends(&content).map_err(no_module(path))?);
        for alias in aliases(&content).map_err(no_module(path))? {
            let _ = writeln!(alias_list, "alias {alias} {}", name.as_str());
        }
        let file = file_of(tree, path);
        archive.file_below(&format!("{folder}/{file}"), 0o644, content);
    }
    let files: BTreeMap<_, _> = files.collect();
    let file = |name: &ModuleName| files.get(name).map(|path| file_of(tree, path));
    let mut dep_list = String::new();
    for name in needs.keys() {
        let mut order = Vec::new();
        visit(name, &needs, &mut BTreeSet::new(), &mut order);
        // `modprobe` loads the list from its end.
        let mut files = order.iter().rev().filter_map(file);
        let own = files.next().unwrap_or_default();
        let _ = writeln!(
            dep_list,
            "{own}:{}",
            files.fold(String::new(), |list, file| list + " " + &file)
        );
    }
    archive.file_below(
        &format!("{folder}/modules.dep"),
        0o644,
        dep_list.into_bytes(),
    );
    archive.file_below(
        &format!("{folder}/modules.alias"),
        0o644,
        alias_list.into_bytes(),
    );
    for list in [
        "modules.builtin",
        "modules.builtin.modinfo",
        "modules.order",
    ] {
        let content = tree.and_then(|tree| std::fs::read(tree.directory.join(list)).ok());
        // `modprobe` needs the first.
        if let Some(content) = content.or_else(|| (list == "modules.builtin").then(Vec::new)) {
            archive.file_below(&format!("{folder}/{list}"), 0o644, content);
        }
    }
    Ok(archive)
}

/// Returns the path of a module in the kernel's folder, without the suffix of its compression.
fn file_of(tree: Option<&Tree>, path: &Path) -> String {
    let inside = tree.and_then(|tree| path.strip_prefix(&tree.directory).ok());
    let path = inside.unwrap_or(path);
    let path = path.to_string_lossy();
    path.trim_end_matches(".xz")
        .trim_end_matches(".zst")
        .trim_end_matches(".gz")
        .to_owned()
}

/// Appends a module after its dependencies.
fn visit(
    name: &ModuleName,
    needs: &BTreeMap<ModuleName, Vec<ModuleName>>,
    visited: &mut BTreeSet<ModuleName>,
    order: &mut Vec<ModuleName>,
) {
    if !visited.insert(name.clone()) {
        return;
    }
    // A dependency that is not a module is built in.
    let Some(needed) = needs.get(name) else {
        return;
    };
    needed
        .iter()
        .for_each(|needed| visit(needed, needs, visited, order));
    order.push(name.clone());
}

#[cfg(test)]
mod tests {
    //! **Scope**: the lists. Guests show that a kernel loads the modules.

    use super::super::modules::fixtures::tree;
    use super::*;
    use crate::artifacts::Silent;

    #[test]
    fn the_lists_contain_every_module_and_its_dependencies() {
        let modules = tree(
            &[("a-b.ko", "c,built-in"), ("c.ko", "d"), ("d.ko", "")],
            "kernel/built_in.ko\n",
        );
        let kernel = KernelInstall {
            image: "vmlinuz".into(),
            release: "6.1".into(),
            modules: Some(modules.path().into()),
            origin: Origin::Host,
        };
        let folder = tempfile::tempdir().unwrap();
        let plain = GuestImage {
            kernel: "vmlinuz".into(),
            vmlinux: None,
            kernel_release: "6.1".into(),
            initramfs: folder.path().join("initramfs"),
            agent_sha256: "a".into(),
            origin: Origin::Host,
        };
        std::fs::write(&plain.initramfs, "first").unwrap();
        let out = folder.path().join("with-modules");
        let program = folder.path().join("busybox");
        std::fs::write(&program, "program").unwrap();
        let tools = Tools {
            program,
            names: vec!["bin/sh".to_owned(), "usr/bin/env".to_owned()],
        };
        let make = || with_modules(&plain, &kernel, Some(&tools), &out, &mut Silent).unwrap();
        assert_eq!(make().initramfs, out);
        let bytes = std::fs::read(&out).unwrap();
        assert!(bytes.starts_with(b"first\x00\x00\x00070701"));
        let text = String::from_utf8_lossy(&bytes);
        let folder = "kernel/drivers";
        let line = format!("{folder}/a-b.ko: {folder}/c.ko {folder}/d.ko\n");
        assert!(
            text.contains(&line) && text.contains(&format!("{folder}/d.ko:\n")),
            "{text}"
        );
        assert!(text.contains("lib/modules/6.1/modules.builtin"));
        assert!(text.contains("bin/sh\nusr/bin/env"));

        let state = FileState::of(&out).unwrap();
        make();
        assert!(state.is_unchanged(), "rebuilt from the same inputs");
        std::fs::write(&plain.initramfs, "second").unwrap();
        make();
        assert!(std::fs::read(&out).unwrap().starts_with(b"second"));
    }
}
