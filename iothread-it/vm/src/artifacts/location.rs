//! Finds the cache folder of a user, and refuses one that another user could change.

use std::ffi::OsString;
use std::fs::{DirBuilder, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::store::{StoreError, at};

/// Environment variable with the cache folder.
pub const CACHE_ENV: &str = "KATA_TEST_CACHE";

/// Returns the cache folder: `$KATA_TEST_CACHE`, `$XDG_CACHE_HOME/kata-test` or `$HOME/.cache/kata-test`.
pub(super) fn folder(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, StoreError> {
    let path = |name| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(path) = path(CACHE_ENV) {
        // Tests and their runner have different working directories.
        return match path.is_absolute() {
            true => Ok(path),
            false => Err(StoreError::Relative(path)),
        };
    }
    // The XDG specification ignores relative paths.
    let absolute = |name| path(name).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|caches| caches.join("kata-test"))
        .ok_or(StoreError::NoHome)
}

/// Checks that no other user can change the folder. If it does not exist, checks that this user would
/// not make it in the home of another one, as `sudo` with the caller's `HOME` does.
pub(super) fn check(folder: &Path) -> Result<(), StoreError> {
    for path in folder.ancestors() {
        match path.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(at(path)(error)),
            Ok(data) => return check_owner(path, &data, path == folder),
        }
    }
    Ok(())
}

fn check_owner(path: &Path, data: &Metadata, is_cache: bool) -> Result<(), StoreError> {
    let user = rustix::process::geteuid().as_raw();
    let is_system = !is_cache && data.uid() == 0;
    if data.uid() != user && !is_system {
        return Err(StoreError::OtherUser {
            path: path.into(),
            owner: data.uid(),
            user,
        });
    }
    if is_cache && data.mode() & 0o022 != 0 {
        return Err(StoreError::WritableByOthers(path.into()));
    }
    Ok(())
}

/// Returns how many bytes are free for a folder, which may not exist yet.
///
/// # Errors
/// If the file system cannot be asked.
pub fn free_space(folder: &Path) -> std::io::Result<u64> {
    let existing = folder.ancestors().find(|path| path.exists());
    let space = rustix::fs::statvfs(existing.unwrap_or(folder))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Makes a folder that only this user can write, whatever the umask is.
pub(super) fn make(folder: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o755).create(folder);
    made.map_err(at(folder))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    fn chosen(variables: &[(&str, &str)]) -> Result<PathBuf, StoreError> {
        folder(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_first_variable_that_names_a_folder_counts() {
        let all = [
            (CACHE_ENV, "/own"),
            ("XDG_CACHE_HOME", "/xdg"),
            ("HOME", "/home/me"),
        ];
        let expected = ["/own", "/xdg/kata-test", "/home/me/.cache/kata-test"];
        for (index, expected) in expected.iter().enumerate() {
            assert_eq!(chosen(&all[index..]).unwrap(), Path::new(expected));
        }
        let ignored = [(CACHE_ENV, ""), ("XDG_CACHE_HOME", "here"), ("HOME", "/me")];
        assert_eq!(chosen(&ignored).unwrap(), Path::new("/me/.cache/kata-test"));
    }

    #[test]
    fn without_a_folder_the_error_names_the_variables() {
        for variables in [&[] as &[_], &[("HOME", "")], &[("HOME", "relative")]] {
            let error = chosen(variables).unwrap_err().to_string();
            for words in [
                "`HOME`",
                "`XDG_CACHE_HOME`",
                "set KATA_TEST_CACHE to a folder",
            ] {
                assert!(error.contains(words), "{error}");
            }
        }
        let error = chosen(&[(CACHE_ENV, "cache")]).unwrap_err().to_string();
        assert_eq!(
            error,
            "KATA_TEST_CACHE is `cache`; set it to an absolute path"
        );
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let cache = place.path().join("cache");
        make(&cache).unwrap();
        check(&cache).unwrap();
        let link = place.path().join("link");
        symlink(&cache, &link).unwrap();
        for mode in [0o775, 0o757] {
            std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(mode)).unwrap();
            for path in [&cache, &link] {
                let error = check(path).unwrap_err().to_string();
                assert!(
                    error.contains(&format!("`chmod go-w {}`", path.display())),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn a_missing_folder_is_not_checked_beyond_its_nearest_parent() {
        let place = tempfile::tempdir().unwrap();
        check(&place.path().join("a/b/c")).unwrap();
        check(Path::new("/no-such-folder/cache")).unwrap();
    }

    /// Root can give a folder away, and every other user has a folder of root's at hand.
    #[test]
    fn a_folder_of_another_user_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let is_root = rustix::process::geteuid().is_root();
        let (folder, inside) = match is_root {
            true => (place.path().to_owned(), place.path().join("made/later")),
            false => ("/usr".into(), "/usr".into()),
        };
        if is_root {
            chown(place.path(), Some(65534), None).unwrap();
        }
        for path in [&folder, &inside] {
            let error = check(path).unwrap_err().to_string();
            assert!(error.contains("belongs to user"), "{error}");
            assert!(error.contains(CACHE_ENV), "{error}");
        }
    }
}
