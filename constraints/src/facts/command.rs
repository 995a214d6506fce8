//! Commands on PATH.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use nix::unistd::AccessFlags;

use super::{Answer, Finding};

/// Searches PATH the way execvp(3) does.
pub(super) fn look(name: &str) -> Answer {
    let finding = match env::var_os("PATH") {
        Some(path) => search(name, &path),
        None => Finding::Absent("PATH is not set".to_owned()),
    };
    Answer::new(finding, "PATH")
}

fn search(name: &str, path: &OsStr) -> Finding {
    let mut not_executable = None;
    for directory in env::split_paths(path) {
        // An empty entry means the working directory.
        let empty = directory.as_os_str().is_empty();
        let file = if empty { PathBuf::from(".") } else { directory }.join(name);
        if !file.is_file() {
            continue;
        }
        if executable(&file) {
            return Finding::Is(file.display().to_string());
        }
        not_executable.get_or_insert(file);
    }
    Finding::Absent(match not_executable {
        Some(file) => format!("{} is not executable", file.display()),
        None => format!("no executable file {name} found"),
    })
}

/// Asks for the effective user, where the system can: access(2) answers for the real one.
fn executable(file: &Path) -> bool {
    #[cfg(not(target_os = "linux"))]
    use nix::unistd::access as eaccess;
    #[cfg(target_os = "linux")]
    use nix::unistd::eaccess;
    eaccess(file, AccessFlags::X_OK).is_ok()
}

#[cfg(test)]
mod tests {
    //! Scope: the search itself, over made-up directories.

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_an_executable_regular_file_counts() {
        let root = tempfile::tempdir().expect("a directory");
        let [a, b, c] = ["a", "b", "c"].map(|name| root.path().join(name));
        for directory in [&a, &b, &c] {
            fs::create_dir(directory).expect("a directory");
        }
        let path = env::join_paths([&a, &b, &c]).expect("a PATH");
        let tool = |directory: &Path| directory.join("tool");

        assert_eq!(
            search("tool", &path),
            Finding::Absent("no executable file tool found".into())
        );

        fs::create_dir(tool(&a)).expect("a directory of that name");
        fs::write(tool(&b), "").expect("a file");
        fs::set_permissions(tool(&b), fs::Permissions::from_mode(0o644)).expect("chmod");
        let found = search("tool", &path);
        assert_eq!(
            found,
            Finding::Absent(format!("{} is not executable", tool(&b).display()))
        );

        fs::write(tool(&c), "").expect("a file");
        fs::set_permissions(tool(&c), fs::Permissions::from_mode(0o755)).expect("chmod");
        assert_eq!(
            search("tool", &path),
            Finding::Is(tool(&c).display().to_string())
        );
    }
}
