//! Programs of this host that tests require: places with other files take them along.

use std::path::PathBuf;

use nix::unistd::{AccessFlags, access};

/// Guests have a `modprobe` of their own. That of the host reads lists in another form, which packages do not contain.
const MODPROBE: &str = "modprobe";

/// Returns the program of this host that a question is about: `command git`, `command version git`. The folders of
/// programs for root are searched too, as in a guest.
#[must_use]
pub fn host_program(question: &str) -> Option<PathBuf> {
    let name = question.strip_prefix("command ")?;
    let name = name.strip_prefix("version ").unwrap_or(name);
    if name == MODPROBE {
        return None;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let for_root = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut files = std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .chain(for_root)
        .map(|folder| folder.join(name));
    let may_run = AccessFlags::R_OK | AccessFlags::X_OK;
    files.find(|file| file.is_file() && access(file, may_run).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_name_programs_of_the_host() {
        for question in ["command sh", "command version sh"] {
            let found = host_program(question);
            assert!(found.is_some_and(|path| path.ends_with("sh")), "{question}");
        }
        for question in ["command no-such-program", "module sh", "command modprobe"] {
            assert_eq!(host_program(question), None, "{question}");
        }
    }
}
