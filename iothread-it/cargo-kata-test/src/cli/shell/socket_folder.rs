//! The folder for sockets. The path of a socket has 107 bytes at most, so it is a short one.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// The most bytes of a folder that leave room for the folders in it and the socket.
const LONGEST: usize = 40;

/// Used instead of a longer one.
const SHORT: &str = "/tmp";

/// Returns `$XDG_RUNTIME_DIR`, or else a folder in the one for temporary files. Only this user can write to it.
///
/// # Errors
/// If it cannot be made, or belongs to another user.
pub(super) fn find(runtime: Option<OsString>, temporary: PathBuf) -> io::Result<PathBuf> {
    let is_short = |path: &PathBuf| path.is_absolute() && path.as_os_str().len() <= LONGEST;
    let runtime = runtime.map(PathBuf::from).filter(is_short);
    if let Some(runtime) = runtime.filter(|path| is_private(path)) {
        return Ok(runtime);
    }
    let temporary = Some(temporary).filter(is_short);
    let temporary = temporary.unwrap_or_else(|| SHORT.into());
    let own = temporary.join(format!("kata-test-{}", geteuid()));
    match DirBuilder::new().mode(0o700).create(&own) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ if is_private(&own) => Ok(own),
        _ => Err(io::Error::other(format!(
            "{} is not a folder that only this user can write to; set XDG_RUNTIME_DIR to one",
            own.display()
        ))),
    }
}

fn is_private(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|data| {
        data.is_dir() && data.uid() == geteuid().as_raw() && data.mode() & 0o022 == 0
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use guest_vm::scratch::ScratchDir;

    use super::*;

    #[test]
    fn a_socket_fits_and_only_this_user_can_write_to_its_folder() {
        let temporary = tempfile::tempdir_in(SHORT).unwrap();
        let temporary = temporary.path();
        let runtime = temporary.join("run");
        DirBuilder::new().mode(0o700).create(&runtime).unwrap();
        let found = |runtime: &Path| find(Some(runtime.into()), temporary.to_owned());
        assert_eq!(found(&runtime).unwrap(), runtime);

        let own = temporary.join(format!("kata-test-{}", geteuid()));
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o777)).unwrap();
        for other in [&runtime, &temporary.join("gone"), Path::new("run")] {
            assert_eq!(found(other).unwrap(), own);
        }
        assert!(is_private(&own));
        fs::set_permissions(&own, fs::Permissions::from_mode(0o770)).unwrap();
        let refused = found(&runtime).unwrap_err().to_string();
        assert!(refused.contains("XDG_RUNTIME_DIR"), "{refused}");
    }

    #[test]
    fn a_long_path_is_not_used() {
        let outer = tempfile::tempdir_in(SHORT).unwrap();
        let long = outer.path().join("x".repeat(80));
        DirBuilder::new().mode(0o700).create(&long).unwrap();
        let root = find(Some(long.clone().into()), long).unwrap();
        let scratch = ScratchDir::new_in(&root).unwrap();
        UnixListener::bind(scratch.path().join("gdb")).unwrap();
    }
}
