//! Checks downloaded packages against the size and hash in the signed package list.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::super::progress::Progress;
use super::super::store::{StoreError, at};
use super::closure::{Closure, Package};

/// Why a package must be downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    Absent,
    Size { found: u64 },
    Hash,
}

/// Returns the packages to download, and removes damaged files.
pub(super) fn to_fetch<'a>(
    packages: &[&'a Package],
    directory: &Path,
    progress: &mut dyn Progress,
) -> Result<Vec<&'a Package>, StoreError> {
    let mut wanted = Vec::new();
    for package in packages {
        let path = directory.join(&package.file);
        let Some(fault) = fault_of(package, &path).map_err(at(&path))? else {
            continue;
        };
        let what = match fault {
            Fault::Absent => None,
            Fault::Size { found } => Some(format!("has {found} bytes instead of {}", package.size)),
            Fault::Hash => Some("differs from its SHA-256".to_owned()),
        };
        if let Some(what) = what {
            progress.noted(&format!("{} {what}; it is fetched again", package.file));
            std::fs::remove_file(&path).map_err(at(&path))?;
        }
        wanted.push(*package);
    }
    Ok(wanted)
}

/// Removes the packages, which are unpacked.
pub(super) fn remove(closure: &Closure, directory: &Path) -> Result<(), StoreError> {
    for package in closure.packages() {
        let path = directory.join(&package.file);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(at(&path)(error)),
            _ => {}
        }
    }
    Ok(())
}

fn fault_of(package: &Package, path: &Path) -> std::io::Result<Option<Fault>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(Fault::Absent)),
        file => file?,
    };
    let found = file.metadata()?.len();
    if found != package.size {
        return Ok(Some(Fault::Size { found }));
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok((hex(&hasher.finalize()) != package.sha256).then_some(Fault::Hash))
}

/// Formats bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
