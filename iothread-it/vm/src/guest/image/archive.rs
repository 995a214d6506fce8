//! The boot image of a guest that is a place for programs: behind what every guest boots from, the
//! whole of the kernel's modules, with the lists that `modprobe` reads. Packages do not bring these: a
//! distribution makes them when it installs one.
//!
//! Linux unpacks one archive after the other. So the modules are there from the start, and in the
//! memory that guests are restored with.
//!
//! Modules are unpacked from their compression here, once: no kernel of a guest has to know it, and
//! no emulated CPU to do it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ImageError;
use super::modinfo::{ModuleName, aliases, depends};
use super::modules::{ModuleError, Tree, uncompressed};
use crate::artifacts::{FileState, GuestImage, KernelInstall, Progress, write_atomically};
use crate::cpio::Archive;

/// What an archive was made from, noted beside it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    layout: u32,
    /// A package's list of its modules: another package has another file.
    kernel: FileState,
    /// What every guest boots from.
    plain: FileState,
    image: FileState,
}

/// The layout of the archive; another one is made anew.
const LAYOUT: u32 = 1;

/// Makes the boot image `out` of `plain`, which is that of the same kernel, with all modules, unless
/// the one that is there was made of the same.
///
/// # Errors
/// If a module cannot be read, or the image cannot be written.
pub fn with_modules(
    plain: &GuestImage,
    kernel: &KernelInstall,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<GuestImage, ImageError> {
    let unusable = |source| ImageError::Unwritable {
        path: out.into(),
        source,
    };
    let made = GuestImage {
        initramfs: out.to_owned(),
        ..plain.clone()
    };
    let note_path = out.with_added_extension("inputs.json");
    let kernel_state = FileState::of(&kernel.modules.join("modules.builtin")).map_err(unusable)?;
    let plain_state = FileState::of(&plain.initramfs).map_err(unusable)?;
    let note = std::fs::read(&note_path).ok();
    let note = note.and_then(|text| serde_json::from_slice::<Note>(&text).ok());
    let is_current = |note: &Note| {
        note.layout == LAYOUT
            && note.kernel == kernel_state
            && note.plain == plain_state
            && note.image.still_holds()
    };
    if note.as_ref().is_some_and(is_current) {
        return Ok(made);
    }
    progress.started(&format!("packing the modules of {}", kernel.release));
    let packed = pack(kernel);
    progress.finished();
    let mut bytes = std::fs::read(&plain.initramfs).map_err(unusable)?;
    // Where an archive may begin.
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(packed?.to_bytes());
    let written = write_atomically(out, &bytes).and_then(|()| {
        let note = Note {
            layout: LAYOUT,
            kernel: kernel_state,
            plain: plain_state,
            image: FileState::of(out)?,
        };
        // The note last: without one that holds, an image does not count.
        write_atomically(&note_path, &serde_json::to_vec_pretty(&note)?)
    });
    written.map_err(unusable)?;
    Ok(made)
}

fn pack(kernel: &KernelInstall) -> Result<Archive, ImageError> {
    let tree = Tree::read(&kernel.modules)?;
    let folder = format!("lib/modules/{}", kernel.release);
    let mut archive = Archive::default();
    let mut needs = BTreeMap::new();
    let mut alias_list = String::new();
    for (name, path) in &tree.files {
        let content = uncompressed(path)?;
        let no_module = |source| ModuleError::NoModule {
            path: path.clone(),
            source,
        };
        needs.insert(name.clone(), depends(&content).map_err(no_module)?);
        for alias in aliases(&content).map_err(no_module)? {
            let _ = writeln!(alias_list, "alias {alias} {}", name.as_str());
        }
        let file = file_of(&kernel.modules, path);
        archive.file_below(&format!("{folder}/{file}"), 0o644, content);
    }
    let file = |name: &ModuleName| {
        tree.files
            .get(name)
            .map(|path| file_of(&kernel.modules, path))
    };
    let mut dep_list = String::new();
    for name in needs.keys() {
        let mut order = Vec::new();
        visit(name, &needs, &mut BTreeSet::new(), &mut order);
        // Whatever a module needs stands behind it, so that the list is loaded from its end.
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
        if let Ok(content) = std::fs::read(kernel.modules.join(list)) {
            archive.file_below(&format!("{folder}/{list}"), 0o644, content);
        }
    }
    Ok(archive)
}

/// A module's file below the kernel's folder, without its compression.
fn file_of(modules: &Path, path: &Path) -> String {
    let path = path.strip_prefix(modules).unwrap_or(path);
    let path = path.to_string_lossy();
    path.trim_end_matches(".xz")
        .trim_end_matches(".zst")
        .to_owned()
}

/// Appends a module after those that it needs.
fn visit(
    name: &ModuleName,
    needs: &BTreeMap<ModuleName, Vec<ModuleName>>,
    seen: &mut BTreeSet<ModuleName>,
    order: &mut Vec<ModuleName>,
) {
    if !seen.insert(name.clone()) {
        return;
    }
    // What is no module is built in.
    let Some(needed) = needs.get(name) else {
        return;
    };
    needed
        .iter()
        .for_each(|needed| visit(needed, needs, seen, order));
    order.push(name.clone());
}

#[cfg(test)]
mod tests {
    //! **Scope**: the lists; that a kernel takes the modules is shown by guests that load them.

    use super::super::modules::made_up::tree;
    use super::*;
    use crate::artifacts::{Origin, Silent};

    #[test]
    fn the_lists_name_every_module_with_what_it_needs() {
        let modules = tree(
            &[("a-b.ko", "c,built-in"), ("c.ko", "d"), ("d.ko", "")],
            "kernel/built_in.ko\n",
        );
        let kernel = KernelInstall {
            image: "vmlinuz".into(),
            release: "6.1".into(),
            modules: modules.path().into(),
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
        let make = || with_modules(&plain, &kernel, &out, &mut Silent).unwrap();
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

        let state = FileState::of(&out).unwrap();
        make();
        assert!(state.still_holds(), "made again of the same");
        std::fs::write(&plain.initramfs, "second").unwrap();
        make();
        assert!(std::fs::read(&out).unwrap().starts_with(b"second"));
    }
}
