//! The link to the newest run.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::folder::Folder;
use super::start_time::start_time;

/// What the link is called, before its maker's pid, until it is the latest.
pub(super) const NEW_LINK: &str = ".latest-";

/// Makes `latest` point at this run, in one step, so that it never dangles.
pub fn point_latest(root: &Folder, run: &str) -> io::Result<()> {
    let link = root.at(format!("{NEW_LINK}{}", std::process::id()));
    let _ = fs::remove_file(&link);
    symlink(Path::new("runs").join(run), &link)?;
    fs::rename(&link, root.at("latest"))
}

/// Removes the links of those who were killed while they made them.
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
