//! Unpacking an archive that the host delivers on a disk: cpio, in its `newc` form.

use std::fs::{self, File, Permissions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use guest_agent::protocol::{Failure, FailureKind};

/// Bytes read from the disk at once.
const CHUNK: usize = 1 << 20;

const HEADER: usize = 110;
const LAST: &str = "TRAILER!!!";
const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// Unpacks a disk's archive below a folder. Returns its entries and the bytes of its files.
pub(crate) fn disk(node: &Path, below: &Path) -> Result<(u64, u64), Failure> {
    let unpack = || unpack(BufReader::with_capacity(CHUNK, File::open(node)?), below);
    unpack().map_err(|error| Failure {
        kind: FailureKind::Io {
            errno: error.raw_os_error(),
        },
        message: format!("cannot unpack {}: {error}", node.display()),
    })
}

fn unpack(mut from: impl Read, below: &Path) -> io::Result<(u64, u64)> {
    let (mut entries, mut bytes) = (0, 0);
    loop {
        let header = Header::read(&mut from)?;
        let mut name = vec![0; header.name_length];
        from.read_exact(&mut name)?;
        skip(&mut from, padding(HEADER + header.name_length))?;
        let name = name.strip_suffix(b"\0").unwrap_or(&name);
        let name = std::str::from_utf8(name).map_err(|_| bad("a name is not UTF-8"))?;
        if name == LAST {
            return Ok((entries, bytes));
        }
        let path = inside(below, name)?;
        header.make(&path, &mut from).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        skip(&mut from, padding(header.length))?;
        entries += 1;
        bytes += header.length as u64;
    }
}

struct Header {
    mode: u32,
    length: usize,
    name_length: usize,
}

impl Header {
    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut header = [0; HEADER];
        from.read_exact(&mut header)?;
        if !header.starts_with(b"070701") {
            return Err(bad("an entry has no newc magic"));
        }
        let field = |index: usize| {
            let digits = &header[6 + 8 * index..][..8];
            let digits =
                std::str::from_utf8(digits).map_err(|_| bad("a header field is not UTF-8"))?;
            u32::from_str_radix(digits, 16).map_err(|_| bad("a header field is not hexadecimal"))
        };
        let name_length = field(11)? as usize;
        // The kernel's longest path.
        if name_length > 4096 {
            return Err(bad("a name is too long"));
        }
        Ok(Self {
            mode: field(1)?,
            length: field(6)? as usize,
            name_length,
        })
    }

    fn make(&self, path: &Path, from: &mut impl Read) -> io::Result<()> {
        let mut content = from.take(self.length as u64);
        match self.mode & KIND {
            DIRECTORY => match fs::create_dir(path) {
                // An existing folder keeps its permissions.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
                made => made?,
            },
            FILE => {
                // An existing file may be running.
                let _ = fs::remove_file(path);
                let mut file = File::create(path)?;
                let copied = io::copy(&mut content, &mut file)?;
                if copied != self.length as u64 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                file.flush()?;
            }
            LINK => {
                let mut to = String::new();
                content.read_to_string(&mut to)?;
                let _ = fs::remove_file(path);
                return symlink(to, path);
            }
            _ => {
                return Err(bad(
                    "the entry is not a directory, regular file or symbolic link",
                ));
            }
        }
        fs::set_permissions(path, Permissions::from_mode(self.mode & 0o7777))
    }
}

/// Returns the path of an entry, which must be below the folder.
fn inside(below: &Path, name: &str) -> io::Result<PathBuf> {
    let path = Path::new(name);
    let stays = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty() || !stays {
        return Err(bad(&format!("{name:?} is not a path below the root")));
    }
    Ok(below.join(path))
}

/// Names and contents start at a multiple of four.
fn padding(length: usize) -> usize {
    length.next_multiple_of(4) - length
}

fn skip(from: &mut impl Read, length: usize) -> io::Result<()> {
    from.read_exact(&mut [0; 3][..length])
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(name: &str, mode: u32, content: &str) -> Vec<u8> {
        let mut bytes = b"070701".to_vec();
        let (length, name_length) = (content.len() as u32, name.len() as u32 + 1);
        for field in [0, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name_length, 0] {
            bytes.extend(format!("{field:08X}").bytes());
        }
        for part in [&format!("{name}\0"), content] {
            bytes.extend(part.bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn unpacked(entries: &[Vec<u8>]) -> (tempfile::TempDir, io::Result<(u64, u64)>) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes: Vec<u8> = entries.concat();
        bytes.extend(entry(LAST, 0, ""));
        // A disk is longer than the archive.
        bytes.resize(bytes.len() + 512, 0);
        let result = unpack(&bytes[..], folder.path());
        (folder, result)
    }

    #[test]
    fn folders_files_and_links_are_unpacked_with_their_permissions() {
        let (folder, result) = unpacked(&[
            entry("a", DIRECTORY | 0o750, ""),
            entry("a/b", FILE | 0o755, "hello"),
            entry("a/c", LINK | 0o777, "b"),
        ]);
        assert_eq!(result.unwrap(), (3, 6));
        let at = |name| folder.path().join(name);
        assert_eq!(fs::read_to_string(at("a/c")).unwrap(), "hello");
        let mode = |name| at(name).symlink_metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("a"), mode("a/b")), (0o750, 0o755));
    }

    #[test]
    fn a_path_outside_of_the_folder_is_refused() {
        for name in ["/etc/passwd", "../x", "a/../../x", "", "."] {
            let (_folder, result) = unpacked(&[entry(name, FILE | 0o644, "x")]);
            let error = result.unwrap_err();
            assert!(
                error.to_string().contains("not a path below"),
                "{name}: {error}"
            );
        }
    }

    #[test]
    fn a_truncated_archive_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = entry("a", FILE | 0o644, "hello");
        assert!(unpack(&bytes[..bytes.len() - 4], folder.path()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let folder = tempfile::tempdir().unwrap();
            let mut archive = b"070701".to_vec();
            archive.extend(bytes);
            prop_assert!(unpack(&archive[..], folder.path()).is_err());
        }
    }
}
