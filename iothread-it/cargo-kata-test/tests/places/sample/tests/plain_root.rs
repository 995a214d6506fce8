//! Plain tests that need privileges.

use std::process::Command;

fn is_root() -> bool {
    // SAFETY: the call has no preconditions.
    unsafe { libc::geteuid() == 0 }
}

#[test]
fn mounts() {
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "x"])
        .arg(std::env::temp_dir())
        .output()
        .unwrap();
    assert!(
        mount.status.success(),
        "{}",
        String::from_utf8_lossy(&mount.stderr)
    );
}

#[test]
fn does_nothing_without_root() {
    if !is_root() {
        println!("skipping: needs root");
        return;
    }
    assert_eq!(std::env::var("KATA_TEST_PLACE").as_deref(), Ok("userns"));
}

#[test]
fn creates_a_node() {
    let name = std::env::temp_dir().join(format!("plain-root-node-{}", std::process::id()));
    let name = std::ffi::CString::new(name.to_str().unwrap()).unwrap();
    // SAFETY: the text ends with a zero.
    let made = unsafe { libc::mknod(name.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(1, 3)) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn passes() {}

#[test]
fn fails() {
    panic!("it fails anywhere");
}
