//! A folder for as long as this process lives.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A temporary folder that goes when this process has ended, however it did. It is for statics, which
/// nothing drops.
pub(crate) struct Folder {
    path: PathBuf,
    /// Waits for the end of its input, of which this process has the other end.
    remover: Child,
}

impl Folder {
    pub(crate) fn make() -> Self {
        let path = tempfile::tempdir().expect("a folder").keep();
        let remover = Command::new("sh")
            .args(["-c", "cat; exec rm -rf \"$1\"", "remover"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What interrupts this process is not for it.
            .process_group(0)
            .spawn()
            .expect("sh");
        Self { path, remover }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[test]
fn a_folder_is_removed_with_its_process() {
    let Folder { path, mut remover } = Folder::make();
    assert!(path.is_dir());
    drop(remover.stdin.take());
    assert!(remover.wait().expect("its end").success());
    assert!(!path.exists());
}
