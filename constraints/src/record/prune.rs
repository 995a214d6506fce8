//! Removes old runs.

use std::fs::{self, DirEntry};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::folder::Folder;
use super::latest::remove_links;
use super::paths::file_name;

/// How many runs are kept regardless of their age.
const KEPT: usize = 50;

/// How long a run has written nothing before it is over.
const QUIET: Duration = Duration::from_secs(60 * 60);

/// The marker file of a run's folder, which holds the run id: the record folder can have a `runs` of
/// another program.
const MARK: &str = "kata-test-run";

/// Writes the marker.
pub(super) fn mark(folder: &Folder, run: &str) -> io::Result<()> {
    folder.create(MARK)?.write_all(run.as_bytes())
}

/// Removes the oldest runs below a record folder if there are many. Errors are ignored.
pub fn prune(root: &Folder) {
    remove_links(root);
    let Ok((folder, _)) = root.folder("runs") else {
        return;
    };
    let Ok(entries) = fs::read_dir(folder.at("")) else {
        return;
    };
    let latest = fs::read_link(root.at("latest")).unwrap_or_default();
    let latest = latest.file_name().map(ToOwned::to_owned);
    let mut folders: Vec<DirEntry> = entries.flatten().collect();
    folders.retain(|entry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir()) && Some(entry.file_name()) != latest
    });
    // Most processes have nothing to remove: they read no markers. The newest run, which `latest` names, is not
    // among these.
    if folders.len() < KEPT {
        return;
    }
    // The oldest first.
    let mut runs: Vec<(SystemTime, DirEntry)> = Vec::with_capacity(folders.len());
    for folder in folders {
        let time = modified(&folder.path());
        let at = runs.partition_point(|(other, _)| *other <= time);
        runs.insert(at, (time, folder));
    }
    if !runs.first().is_some_and(|(oldest, _)| is_old(*oldest)) {
        return;
    }
    runs.retain(|(_, folder)| is_run(folder));
    let excess = runs.len().saturating_sub(KEPT - 1);
    for (_, folder) in &runs[..excess] {
        if is_quiet(&folder.path()) {
            let _ = remove(&folder.path());
        }
    }
}

/// Removes a run. What cannot be removed now is tried again, as long as the marker is there.
fn remove(run: &Path) -> io::Result<()> {
    for entry in marker_last(run)? {
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    fs::remove_dir(run)
}

/// Returns what is in a run's folder, its marker last.
fn marker_last(run: &Path) -> io::Result<Vec<DirEntry>> {
    let entries = fs::read_dir(run)?.collect::<io::Result<Vec<_>>>()?;
    let is_other = |entry: &DirEntry| entry.file_name() != MARK;
    let (mut entries, marker): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_other);
    entries.extend(marker);
    Ok(entries)
}

/// Whether a folder is a run's: its marker holds its own name, which is a valid run id.
fn is_run(folder: &DirEntry) -> bool {
    let mark = fs::read_to_string(folder.path().join(MARK));
    mark.is_ok_and(|run| folder.file_name() == *run && file_name(&run) == run)
}

fn modified(path: &Path) -> SystemTime {
    let metadata = fs::metadata(path).and_then(|metadata| metadata.modified());
    metadata.unwrap_or_else(|_| SystemTime::now())
}

/// Whether neither the run's folder nor a file in it has changed recently.
fn is_quiet(run: &Path) -> bool {
    let Ok(mut files) = fs::read_dir(run) else {
        return false;
    };
    is_old(modified(run)) && files.all(|file| file.is_ok_and(|file| is_old(modified(&file.path()))))
}

fn is_old(time: SystemTime) -> bool {
    let age = SystemTime::now().duration_since(time);
    age.unwrap_or_default() > QUIET
}

#[cfg(test)]
mod tests {
    //! Scope: which runs go, on folders with made-up ages.

    use std::fs::File;

    use super::super::latest::NEW_LINK;
    use super::super::make_root;
    use super::*;

    fn age(path: &Path, hours: u64) {
        let time = SystemTime::now() - Duration::from_secs(hours * 60 * 60);
        let opened = File::open(path).expect("it is there");
        opened.set_modified(time).expect("its time is set");
    }

    #[test]
    fn the_oldest_quiet_runs_are_removed() {
        let root = tempfile::tempdir().expect("a folder");
        let run = |name: usize| root.path().join("runs").join(name.to_string());
        let count = KEPT + 5;
        for name in 0..count {
            fs::create_dir_all(run(name)).expect("a folder");
            fs::write(run(name).join("a.jsonl"), "").expect("a file");
            fs::write(run(name).join(MARK), name.to_string()).expect("a file");
            age(&run(name).join(MARK), 100);
            let hours = if name == 3 { 0 } else { 100 };
            age(&run(name).join("a.jsonl"), hours);
            age(&run(name), 2 + (count - name) as u64);
        }
        std::os::unix::fs::symlink("runs/1", root.path().join("latest")).expect("a link");
        let link = |maker: u32| root.path().join(format!("{NEW_LINK}{maker}"));
        for maker in [std::process::id(), u32::MAX >> 2] {
            std::os::unix::fs::symlink("runs/1", link(maker)).expect("a link");
        }
        prune(&make_root(root.path()).expect("a folder"));
        assert!(!link(u32::MAX >> 2).is_symlink(), "its maker is gone");
        assert!(link(std::process::id()).is_symlink());
        let gone: Vec<usize> = (0..count).filter(|name| !run(*name).exists()).collect();
        // 1 is the latest, and 3 has just written.
        assert_eq!(gone, [0, 2, 4, 5]);
        prune(&make_root(root.path()).expect("a folder"));
        assert!(
            run(6).exists(),
            "there are no more than are kept, but for what lives"
        );
    }

    #[test]
    fn folders_without_a_marker_are_kept() {
        let root = tempfile::tempdir().expect("a folder");
        let runs = root.path().join("runs");
        for name in 0..KEPT + 3 {
            let folder = runs.join(name.to_string());
            fs::create_dir_all(&folder).expect("a folder");
            match name {
                0 => {}
                1 => fs::write(folder.join("a.jsonl"), "").expect("a file"),
                // A copy of a run's folder.
                2 => fs::write(folder.join(MARK), "7").expect("a file"),
                name => fs::write(folder.join(MARK), name.to_string()).expect("a file"),
            }
            for file in fs::read_dir(&folder).expect("a folder").flatten() {
                age(&file.path(), 100);
            }
            age(&folder, 100 + (KEPT + 3 - name) as u64);
        }
        prune(&make_root(root.path()).expect("a folder"));
        let gone = (0..KEPT + 3).filter(|name| !runs.join(name.to_string()).exists());
        assert_eq!(gone.collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn the_marker_goes_last() {
        let root = tempfile::tempdir().expect("a folder");
        let run = root.path().join("7");
        for name in ["artifacts", "z"] {
            fs::create_dir_all(run.join(name)).expect("a folder");
        }
        for name in ["a", MARK, "runner.jsonl"] {
            fs::write(run.join(name), "7").expect("a file");
        }
        let entries = marker_last(&run).expect("entries");
        let last = entries.last().expect("an entry").file_name();
        assert_eq!((entries.len(), &*last), (5, MARK.as_ref()));
        remove(&run).expect("removed");
        assert!(!run.exists());
    }
}
