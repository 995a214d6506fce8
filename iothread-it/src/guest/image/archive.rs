//! The whole of a kernel's modules as an archive that the guest unpacks, with the lists that
//! `modprobe` reads. Packages do not bring these: a distribution makes them when it installs one.
//!
//! Modules are unpacked from their compression here, once: no kernel of a guest has to know it, and
//! no emulated CPU to do it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ImageError;
use super::modinfo::{ModuleName, aliases, depends};
use super::modules::{ModuleError, Tree, uncompressed};
use crate::artifacts::{FileState, KernelInstall, Progress, write_atomically};
use crate::cpio::Archive;

/// What an archive was made from, noted beside it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    layout: u32,
    /// A package's list of its modules: another package has another file.
    kernel: FileState,
    archive: FileState,
}

/// The layout of the archive; another one is made anew.
const LAYOUT: u32 = 1;

/// Makes the archive `out` of a kernel's modules, unless the one that is there is of the same kernel.
///
/// # Errors
/// If a module cannot be read, or the archive cannot be written.
pub fn modules(
    kernel: &KernelInstall,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<(), ImageError> {
    let unwritable = |source| ImageError::Unwritable {
        path: out.into(),
        source,
    };
    let mut note_path = out.as_os_str().to_owned();
    note_path.push(".inputs.json");
    let note_path = PathBuf::from(note_path);
    let source = FileState::of(&kernel.modules.join("modules.builtin")).map_err(unwritable)?;
    let note = std::fs::read(&note_path).ok();
    let note = note.and_then(|text| serde_json::from_slice::<Note>(&text).ok());
    if note.is_some_and(|note| {
        note.layout == LAYOUT && note.kernel == source && note.archive.still_holds()
    }) {
        return Ok(());
    }
    progress.started(&format!("packing the modules of {}", kernel.release));
    let packed = pack(kernel);
    progress.finished();
    let mut bytes = packed?.to_bytes();
    // A disk has whole sectors.
    bytes.resize(bytes.len().next_multiple_of(4096), 0);
    let written = write_atomically(out, &bytes).and_then(|()| {
        let note = Note {
            layout: LAYOUT,
            kernel: source,
            archive: FileState::of(out)?,
        };
        // The note last: without one that holds, an archive does not count.
        write_atomically(&note_path, &serde_json::to_vec_pretty(&note)?)
    });
    written.map_err(unwritable)
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
        let out = folder.path().join("modules");
        super::modules(&kernel, &out, &mut Silent).unwrap();
        let bytes = std::fs::read(&out).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let folder = "kernel/drivers";
        let line = format!("{folder}/a-b.ko: {folder}/c.ko {folder}/d.ko\n");
        assert!(
            text.contains(&line) && text.contains(&format!("{folder}/d.ko:\n")),
            "{text}"
        );
        assert!(text.contains("lib/modules/6.1/modules.builtin"));

        let made = FileState::of(&out).unwrap();
        super::modules(&kernel, &out, &mut Silent).unwrap();
        assert!(made.still_holds(), "made again from the same");
        std::fs::write(&out, "cut").unwrap();
        super::modules(&kernel, &out, &mut Silent).unwrap();
        assert_eq!(std::fs::read(&out).unwrap(), bytes);
    }
}
