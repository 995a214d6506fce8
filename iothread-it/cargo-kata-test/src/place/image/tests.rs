//! **Scope**: which files are packed, and the format, by a reader of its own; `tests/places` mounts
//! images in guests.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;

use kata_test_runner::Excludes;

use super::*;
use crate::place::GuestError;

const OWNER: Owner = Owner {
    uid: 1001,
    gid: 1002,
};

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (file, text) in files {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// A file that was read back: mode, owner, and content, or the target of a link.
type Found = BTreeMap<String, (u16, (u32, u32), Vec<u8>)>;

/// Reads an image, as the kernel does, and looks up each name by binary search.
struct Reader(Vec<u8>);

impl Reader {
    fn number(&self, at: usize, length: usize) -> usize {
        let mut bytes = [0; 8];
        bytes[..length].copy_from_slice(&self.0[at..at + length]);
        u64::from_le_bytes(bytes) as usize
    }

    fn all(&self) -> Found {
        assert_eq!(self.number(1024, 4), 0xE0F5_E1E2);
        assert_eq!(self.number(1024 + 36, 4) * 4096, self.0.len());
        let mut found = Found::new();
        let root = self.number(1024 + 14, 2);
        self.read(root, root, "", &mut found);
        found
    }

    fn read(&self, nid: usize, parent: usize, name: &str, found: &mut Found) {
        let at = nid * 32;
        assert_eq!(self.number(at, 2), 1);
        let mode = self.number(at + 4, 2) as u16;
        let (size, block) = (self.number(at + 8, 8), self.number(at + 16, 4));
        let owner = (
            self.number(at + 24, 4) as u32,
            self.number(at + 28, 4) as u32,
        );
        let content = self.0[block * 4096..][..size].to_vec();
        if mode & 0o170_000 != 0o040_000 {
            found.insert(name.to_owned(), (mode, owner, content));
            return;
        }
        let mut names: Vec<Vec<u8>> = Vec::new();
        for start in (0..size).step_by(4096) {
            let block = &content[start..size.min(start + 4096)];
            let count = usize::from(block[8]) + 256 * usize::from(block[9]);
            for entry in 0..count / 12 {
                let offset = |entry: usize| {
                    usize::from(block[12 * entry + 8]) + 256 * usize::from(block[12 * entry + 9])
                };
                let end = match entry + 1 < count / 12 {
                    true => offset(entry + 1),
                    false => block.len(),
                };
                let text = &block[offset(entry)..end];
                let text = text.split(|byte| *byte == 0).next().unwrap().to_vec();
                let child =
                    u64::from_le_bytes(block[12 * entry..][..8].try_into().unwrap()) as usize;
                match &text[..] {
                    b"." => assert_eq!(child, nid),
                    b".." => assert_eq!(child, parent),
                    text => {
                        let name = format!("{name}/{}", text.escape_ascii());
                        self.read(child, nid, &name, found);
                    }
                }
                names.push(text);
            }
        }
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        found.insert(name.to_owned(), (mode, owner, Vec::new()));
    }
}

fn packed(folder: &Path, excluded: &[&str]) -> Found {
    let excludes = Excludes::new(excluded.iter().map(ToString::to_string).collect()).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let link = scratch.path().join("link");
    package(
        folder,
        &excludes,
        OWNER,
        &scratch.path().join("cache"),
        &link,
    )
    .unwrap();
    Reader(fs::read(link).unwrap()).all()
}

#[test]
fn a_package_is_packed_without_build_outputs_and_git() {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("Cargo.toml", "manifest"),
        ("tests/data/one.txt", "data"),
        (".config/hidden", "hidden"),
        (".git/config", "git"),
        ("sub/.git/config", "git"),
        ("target/CACHEDIR.TAG", "tag"),
        ("target/debug/large", "built"),
    ];
    write(folder.path(), &files);
    symlink("target", folder.path().join("link-to-target")).unwrap();
    symlink("nowhere", folder.path().join("link")).unwrap();
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(folder.path().join("Cargo.toml"), mode).unwrap();
    let found = packed(folder.path(), &[]);
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    let expected = [
        "",
        "/.config",
        "/.config/hidden",
        "/Cargo.toml",
        "/link",
        "/sub",
        "/tests",
        "/tests/data",
        "/tests/data/one.txt",
    ];
    assert_eq!(names, expected);
    let owner = (1001, 1002);
    assert_eq!(
        found["/Cargo.toml"],
        (0o100_640, owner, b"manifest".to_vec())
    );
    assert_eq!(found["/link"], (0o120_777, owner, b"nowhere".to_vec()));
}

#[test]
fn what_the_configuration_excludes_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[
            ("data/disk.iso", "large"),
            ("data/a", "small"),
            ("docs/b", "text"),
        ],
    );
    let found = packed(folder.path(), &["*.iso", "docs"]);
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["", "/data", "/data/a"]);
}

#[test]
fn an_image_is_kept_until_a_file_changes() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("a", "one")]);
    let scratch = tempfile::tempdir().unwrap();
    let cache = scratch.path().join("cache");
    let mut links = 0;
    let mut image = || {
        links += 1;
        let link = scratch.path().join(links.to_string());
        package(folder.path(), &Excludes::default(), OWNER, &cache, &link).unwrap();
        let content = Reader(fs::read(&link).unwrap()).all()["/a"].2.clone();
        (FileId::of(&link), String::from_utf8(content).unwrap())
    };
    let first = image();
    assert_eq!(image(), first);
    let data = folder.path().join("a").metadata().unwrap();
    write(folder.path(), &[("a", "two")]);
    let file = fs::File::options()
        .write(true)
        .open(folder.path().join("a"))
        .unwrap();
    file.set_modified(data.modified().unwrap()).unwrap();
    let second = image();
    assert_eq!(second.1, "two");
    assert_ne!(second.0, first.0);
    assert_eq!(
        fs::read_dir(&cache).unwrap().count(),
        1,
        "the old image is removed"
    );
}

/// The identity of a file.
#[derive(Debug, PartialEq)]
struct FileId(u64);

impl FileId {
    fn of(path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(path.metadata().unwrap().ino())
    }
}

#[test]
fn a_path_with_parent_components_is_refused() {
    assert_eq!(parts(Path::new("/a//b/.")).unwrap(), ["a", "b"]);
    for bad in ["/a/../b", ".."] {
        assert!(
            matches!(parts(Path::new(bad)), Err(ImageError::BadPath(_))),
            "{bad}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    let missing = folder.path().join("missing");
    let error = package(
        &missing,
        &Excludes::default(),
        OWNER,
        &folder.path().join("cache"),
        &link,
    )
    .unwrap_err();
    // As the command prints it.
    let text = format!("{:#}", anyhow::Error::from(GuestError::from(error)));
    let cause = "No such file or directory (os error 2)";
    assert_eq!(text, format!("cannot pack {}: {cause}", missing.display()));
}

#[test]
fn a_folder_that_is_too_large_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = fs::File::create(folder.path().join("sparse")).unwrap();
    file.set_len(folder::MAX_BYTES + 1).unwrap();
    let link = folder.path().join("link");
    let error = package(
        folder.path(),
        &Excludes::default(),
        OWNER,
        &folder.path().join("cache"),
        &link,
    )
    .unwrap_err();
    insta::assert_snapshot!(
        error
            .to_string()
            .replace(&*folder.path().to_string_lossy(), "FOLDER")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_folder_is_read_back(
        names in prop::collection::btree_map("[!-.0-~é]{1,40}", 0..9000_usize, 0..300)
    ) {
        let folder = tempfile::tempdir().unwrap();
        for (index, (name, size)) in names.iter().enumerate() {
            prop_assume!(!matches!(&**name, "." | ".." | ".git"));
            let content = vec![index as u8; *size];
            fs::write(folder.path().join(name), content).unwrap();
        }
        let found = packed(folder.path(), &[]);
        prop_assert_eq!(found.len(), 1 + names.len());
        for (index, (name, size)) in names.iter().enumerate() {
            let name = format!("/{}", name.as_bytes().escape_ascii());
            prop_assert_eq!(&found[&name].2, &vec![index as u8; *size]);
        }
    }
}
