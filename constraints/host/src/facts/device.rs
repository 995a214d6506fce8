//! Device nodes. A probe opens them, since mode bits and groups do not decide alone who may.
#![expect(
    unsafe_code,
    reason = "a child of a process with threads may do no more than call open(2)"
)]

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{self, major, minor};

use super::Answer;
use super::system::{errno, why};
use crate::sys::{TRUNCATED, answer_within};

/// The time limit for open(2): a driver may wait for its device.
const LIMIT: Duration = Duration::from_secs(3);

/// Opens a node for reading and writing, and closes it again. It does not open a watchdog, since that
/// starts it, or a node without a driver, since that makes the kernel load one.
pub(super) fn answer(path: &'static str) -> Answer {
    let refuse = match fs::metadata(path) {
        Ok(stat) => refusal(path, &stat),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some(Answer::absent(format!("there is no {path}"), path))
        }
        Err(error) => Some(Answer::absent(format!("{path}: {}", why(&error)), path)),
    };
    refuse.unwrap_or_else(|| opened(path))
}

fn refusal(path: &'static str, stat: &fs::Metadata) -> Option<Answer> {
    let kind = match stat.file_type() {
        kind if kind.is_char_device() => "char",
        kind if kind.is_block_device() => "block",
        _ => return Some(Answer::absent(format!("{path} is no device"), path)),
    };
    let numbers = format!("{}:{}", major(stat.rdev()), minor(stat.rdev()));
    let device = format!("/sys/dev/{kind}/{numbers}");
    let real = fs::read_link(&device).unwrap_or_default();
    let real = real.to_string_lossy();
    let name = fs::canonicalize(path).unwrap_or_default();
    if kind == "char" && (numbers == "10:130" || real.contains("/watchdog/"))
        || name.to_string_lossy().contains("watchdog")
    {
        let text = format!("{path} is a watchdog, which opening would start");
        return Some(Answer::unknown(text, path));
    }
    let listed = Path::new("/sys/dev").join(kind).is_dir();
    if listed && !Path::new(&device).exists() && !is_unlisted(&numbers) {
        let text = format!(
            "no driver has taken {path} ({kind} {numbers}); opening it would make the kernel load \
             one: load it beforehand"
        );
        return Some(Answer::absent(text, device));
    }
    None
}

/// Returns whether the numbers belong to the kernel's memory devices or terminals, which have drivers
/// wherever there is a kernel; sandboxes leave them out of their sysfs.
fn is_unlisted(numbers: &str) -> bool {
    numbers.starts_with("1:") || numbers.starts_with("5:")
}

fn opened(path: &'static str) -> Answer {
    let Ok(name) = CString::new(path) else {
        return outcome(path, libc::EINVAL);
    };
    let open = || {
        let flags = libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
        // SAFETY: the name ends with a NUL and outlives the call.
        Errno::result(unsafe { libc::open(name.as_ptr(), flags) })
    };
    // SAFETY: the child makes system calls only.
    let answer = unsafe {
        answer_within(LIMIT, |send| {
            let code = open().map_or_else(|errno| errno as i32, |_| 0);
            send(&code.to_le_bytes());
        })
    };
    match answer.map(<[u8; 4]>::try_from) {
        Ok(Ok(code)) => outcome(path, i32::from_le_bytes(code)),
        Ok(Err(_)) => Answer::unknown(TRUNCATED, path),
        Err(problem) => Answer::unknown(format!("opening {path}: {problem}"), path),
    }
}

/// Returns the answer for an error number of open(2), 0 for none.
fn outcome(path: &'static str, code: i32) -> Answer {
    let source = format!("open {path}");
    let absent = |text: &str| Answer::absent(format!("opening {path}: {text}"), source.clone());
    match Errno::from_raw(code) {
        _ if code == 0 => Answer::is("it opens for reading and writing", source),
        Errno::ENOENT => Answer::absent(format!("there is no {path}"), source),
        Errno::EACCES => absent("EACCES, this user has no permission"),
        Errno::EPERM => absent("EPERM, a cgroup or a security module forbids it"),
        Errno::ENODEV | Errno::ENXIO => absent("there is a node, but no driver for it"),
        Errno::EBUSY => absent("EBUSY, another process uses it"),
        Errno::EROFS => absent("EROFS, it can only be read"),
        other => Answer::unknown(format!("opening {path}: {}", errno(other)), source),
    }
}

#[cfg(test)]
mod tests {
    //! Scope: what errors mean, and nodes that every host has.

    use super::*;
    use crate::facts::Finding;

    #[test]
    fn each_error_has_its_text() {
        let text = |errno: Errno| outcome("/dev/x", errno as i32).finding;
        let absent = |text: &str| Finding::Absent(text.to_owned());
        assert_eq!(text(Errno::ENOENT), absent("there is no /dev/x"));
        assert_eq!(
            text(Errno::EACCES),
            absent("opening /dev/x: EACCES, this user has no permission")
        );
        assert_eq!(
            text(Errno::EPERM),
            absent("opening /dev/x: EPERM, a cgroup or a security module forbids it")
        );
        assert_eq!(
            text(Errno::ENXIO),
            absent("opening /dev/x: there is a node, but no driver for it")
        );
        assert!(matches!(text(Errno::EIO), Finding::Unknown(_)));
        assert!(matches!(outcome("/dev/x", 0).finding, Finding::Is(_)));
    }

    #[test]
    fn only_a_device_counts() {
        assert!(matches!(answer("/dev/null").finding, Finding::Is(_)));
        assert!(matches!(
            answer("/dev/no-such-node").finding,
            Finding::Absent(_)
        ));
        let folder = answer("/dev/fd");
        assert_eq!(
            folder.finding,
            Finding::Absent("/dev/fd is no device".into())
        );
    }
}
