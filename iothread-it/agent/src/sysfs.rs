//! Reads and writes attributes in `/sys`, which has one value a file.

use std::path::{Path, PathBuf};
use std::{fs, io};

use guest_agent::protocol::{Disk, Failure, Serial};

use crate::failure::{self, OrFailure};

/// The unit of `/sys/block/*/size`, in bytes, independent of the disk's sector size.
const SECTOR: u64 = 512;

/// Reads an attribute without its line break.
pub(crate) fn attribute(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map(|text| text.trim().to_owned())
}

/// Returns the names in a folder, or none if there is no such folder (yet).
pub(crate) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// Reads a disk's attributes in `/sys/block`. Returns nothing if the disk has no serial, has no node in
/// `/dev` yet, or is gone: a uevent follows, or has arrived, for each of these changes.
pub(crate) fn disk(name: &str) -> Option<Disk> {
    let folder = Path::new("/sys/block").join(name);
    let serial = serial(&folder)?;
    let sectors: u64 = attribute(&folder.join("size")).ok()?.parse().ok()?;
    Path::new("/dev").join(name).exists().then(|| Disk {
        serial,
        name: name.to_owned(),
        size: sectors * SECTOR,
    })
}

/// Writes a text to every file that matches a path, in which `*` is any name.
pub(crate) fn set(path: &str, text: &str) -> Result<(), Failure> {
    let files = matching(path);
    if files.is_empty() {
        return Err(failure::bad_request(format!("there is no {path}")));
    }
    for file in files {
        fs::write(&file, text).or_failure(|| format!("write to {}", file.display()))?;
    }
    Ok(())
}

fn matching(path: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in path.split('/').filter(|part| !part.is_empty()) {
        found = found
            .into_iter()
            .flat_map(|folder| match part {
                "*" => {
                    let names = names(&folder).unwrap_or_default();
                    names.iter().map(|name| folder.join(name)).collect()
                }
                _ => vec![folder.join(part)],
            })
            .filter(|path| path.exists())
            .collect();
    }
    found
}

/// Returns the serial of a disk: virtio's attribute, or SCSI's page of product data.
fn serial(folder: &Path) -> Option<Serial> {
    let text = match attribute(&folder.join("serial")) {
        Ok(text) => text,
        Err(_) => serial_of_page(&fs::read(folder.join("device/vpd_pg80")).ok()?)?,
    };
    (!text.is_empty()).then_some(Serial(text))
}

/// Parses SCSI's page 0x80: four bytes, the last of which is the length of the text after them.
fn serial_of_page(page: &[u8]) -> Option<String> {
    let (head, text) = page.split_at_checked(4)?;
    let text = text.get(..usize::from(head[3]))?;
    Some(str::from_utf8(text).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scsi_page_has_its_stated_length() {
        let page = b"\0\x80\0\x05 d7  trailing";
        assert_eq!(serial_of_page(page).as_deref(), Some("d7"));
        assert_eq!(serial_of_page(b"\0\x80\0\x09short"), None);
        assert_eq!(serial_of_page(b"\0\x80"), None);
    }

    #[test]
    fn a_virtio_serial_is_trimmed_and_an_empty_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("serial"), "disk-7\n").unwrap();
        assert_eq!(serial(folder.path()), Some(Serial("disk-7".into())));
        fs::write(folder.path().join("serial"), "\n").unwrap();
        assert_eq!(serial(folder.path()), None);
    }

    #[test]
    fn a_star_matches_existing_names() {
        let folder = tempfile::tempdir().unwrap();
        for slot in ["1", "2"] {
            fs::create_dir(folder.path().join(slot)).unwrap();
            fs::write(folder.path().join(slot).join("power"), "1").unwrap();
        }
        fs::create_dir(folder.path().join("3")).unwrap();
        let path = |end: &str| format!("{}/{end}", folder.path().display());
        set(&path("*/power"), "0").unwrap();
        for slot in ["1", "2"] {
            let power = fs::read_to_string(folder.path().join(slot).join("power"));
            assert_eq!(power.unwrap(), "0");
        }
        assert!(!folder.path().join("3/power").exists());
        let none = set(&path("*/speed"), "0").unwrap_err();
        assert!(none.message.starts_with("there is no "), "{none}");
    }

    #[test]
    fn a_missing_folder_has_no_names() {
        let folder = tempfile::tempdir().unwrap();
        assert!(names(&folder.path().join("none")).unwrap().is_empty());
    }
}
