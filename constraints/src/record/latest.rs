//! The link to the newest run.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::folder::Folder;
use super::start_time::start_time;

/// The name of the new link, before its maker's pid.
pub(super) const NEW_LINK: &str = ".latest-";

/// Points `latest` at a run, atomically.
pub fn point_latest(root: &Folder, run: &str) -> io::Result<()> {
    let link = root.at(format!("{NEW_LINK}{}", std::process::id()));
    let _ = fs::remove_file(&link);
    symlink(Path::new("runs").join(run), &link)?;
    fs::rename(&link, root.at("latest"))
}

/// Removes new links of processes that were killed.
pub(super) fn remove_links(root: &Folder) {
    for entry in fs::read_dir(root.at("")).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name
            .to_str()
            .and_then(|name| name.strip_prefix(NEW_LINK)?.parse().ok());
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if is_link && maker.is_some_and(|maker: i32| start_time(maker).is_none()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
