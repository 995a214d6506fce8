//! Reads apt's sources and the release of the host.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::super::store::at;
use super::error::AptError;
use super::sources::{Source, parse_deb822, parse_one_line};
use crate::process::BoundedCommand;

/// The programs that are needed to fetch and unpack packages.
const PROGRAMS: [&str; 3] = ["apt-get", "apt-config", "dpkg-deb"];

/// Checks that the programs exist.
pub(super) fn check_programs() -> Result<(), AptError> {
    let is_missing = |program: &&str| super::super::host_qemu::on_path(program).is_none();
    match PROGRAMS.into_iter().find(is_missing) {
        Some(program) => Err(AptError::NoApt(program)),
        None => Ok(()),
    }
}

/// Reads the sources of the host's apt.
pub(super) fn sources() -> Result<Vec<Source>, AptError> {
    check_programs()?;
    let mut command = Command::new("apt-config");
    command.args([
        "shell",
        "FILE",
        "Dir::Etc::sourcelist/f",
        "DIRECTORY",
        "Dir::Etc::sourceparts/d",
    ]);
    let run = BoundedCommand::new("apt-config", command, Duration::from_secs(60));
    let output = run.succeed(|_| {})?.stdout;
    let path = |name: &str| {
        output
            .iter()
            .find_map(|line| shell_value(line, name))
            .map(PathBuf::from)
    };
    let mut files: Vec<PathBuf> = path("FILE").into_iter().collect();
    files.extend(
        path("DIRECTORY")
            .map(|directory| parts(&directory))
            .unwrap_or_default(),
    );
    let mut sources = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let text = std::fs::read(file).map_err(at(file))?;
        let text = String::from_utf8_lossy(&text);
        let newer = file
            .extension()
            .is_some_and(|extension| extension == "sources");
        sources.extend(if newer {
            parse_deb822(&text)
        } else {
            parse_one_line(&text)
        });
    }
    Ok(sources)
}

/// Parses `NAME='value'`, as printed by `apt-config shell`.
fn shell_value(line: &str, name: &str) -> Option<String> {
    let value = line
        .strip_prefix(name)?
        .strip_prefix("='")?
        .strip_suffix('\'')?;
    Some(value.replace(r"'\''", "'"))
}

/// Lists the source files that apt reads in a directory, in its order.
fn parts(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| is_part(path))
        .collect();
    files.sort();
    files
}

fn is_part(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    plain && (name.ends_with(".list") || name.ends_with(".sources"))
}

/// Returns the code name of the host's release, such as `bookworm`, if it has one.
pub(super) fn release_name() -> Option<String> {
    let files = ["/etc/os-release", "/usr/lib/os-release"];
    let text = files
        .iter()
        .find_map(|file| std::fs::read_to_string(file).ok())?;
    code_name(&text)
}

fn code_name(os_release: &str) -> Option<String> {
    let value = os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    let name = value.trim().trim_matches(['"', '\'']);
    super::super::choice::is_suite_name(name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    //! **Scope**: parsing. Provisioning reads the host's files.

    use super::*;

    #[test]
    fn files_that_apt_ignores_are_ignored() {
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "b.list",
            "a.sources",
            "c.list.disabled",
            "d.save",
            "e ~.list",
            "README",
        ] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let names: Vec<_> = parts(directory.path())
            .iter()
            .map(|p| p.file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["a.sources", "b.list"]);
        assert!(parts(Path::new("/nonexistent")).is_empty());
    }

    #[test]
    fn quoted_values_are_parsed() {
        assert_eq!(
            shell_value("FILE='/a b/it'\\''s'", "FILE").as_deref(),
            Some("/a b/it's")
        );
        assert_eq!(
            code_name("ID=debian\nVERSION_CODENAME=\"trixie\"\n").as_deref(),
            Some("trixie")
        );
        assert_eq!(code_name("VERSION_CODENAME=\n"), None);
        assert_eq!(code_name("VERSION_CODENAME=../x\n"), None);
    }
}
