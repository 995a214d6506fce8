//! Checks downloaded packages against the size and hash in the signed package list.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::super::file_error::unless_absent;
use super::super::progress::Progress;
use super::super::store::{StoreError, at};
use super::closure::{Closure, Package};

/// Returns the packages to download, and removes damaged files.
pub(super) fn to_fetch<'a>(
    packages: &[&'a Package],
    directory: &Path,
    progress: &mut dyn Progress,
) -> Result<Vec<&'a Package>, StoreError> {
    let mut wanted = Vec::new();
    for package in packages {
        let path = directory.join(&package.file);
        match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => wanted.push(*package),
            file => {
                let fault = file.and_then(|file| fault_of(package, file));
                if let Some(fault) = fault.map_err(at(&path))? {
                    progress.noted(&format!("{} {fault}; it is fetched again", package.file));
                    std::fs::remove_file(&path).map_err(at(&path))?;
                    wanted.push(*package);
                }
            }
        }
    }
    Ok(wanted)
}

/// Removes the packages, which are unpacked.
pub(super) fn remove(closure: &Closure, directory: &Path) -> Result<(), StoreError> {
    for package in closure.packages() {
        let path = directory.join(&package.file);
        unless_absent(std::fs::remove_file(&path)).map_err(at(&path))?;
    }
    Ok(())
}

/// Returns how a file differs from the package that it is to be.
fn fault_of(package: &Package, mut file: File) -> std::io::Result<Option<String>> {
    let found = file.metadata()?.len();
    if found != package.size {
        let fault = format!("has {found} bytes instead of {}", package.size);
        return Ok(Some(fault));
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    let is_same = hex(&hasher.finalize()) == package.sha256;
    Ok((!is_same).then(|| "differs from its SHA-256".to_owned()))
}

/// Formats bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
