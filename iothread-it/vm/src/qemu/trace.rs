//! Records QEMU's trace events by thread, which shows which IOThread serves a disk.
//!
//! With `-d tid` QEMU's log backend writes one file per thread, named by the thread id.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A trace of some of QEMU's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    folder: PathBuf,
    events: Vec<&'static str>,
}

impl Trace {
    /// Traces the given events to files in `folder`. Names of events depend on the version of QEMU.
    pub fn new(folder: PathBuf, events: Vec<&'static str>) -> Self {
        Self { folder, events }
    }

    /// Traces the requests of virtio-blk and virtio-scsi disks.
    pub fn of_requests(folder: PathBuf) -> Self {
        let events = vec![
            "virtio_blk_handle_read",
            "virtio_blk_handle_write",
            "virtio_scsi_cmd_req",
        ];
        Self::new(folder, events)
    }

    /// Returns QEMU's arguments.
    pub fn arguments(&self) -> [OsString; 4] {
        let mut log = self.folder.as_os_str().to_owned();
        // QEMU replaces `%d` by the thread id.
        log.push("/%d");
        let events: String = self.events.iter().map(|e| format!(",trace:{e}")).collect();
        ["-D".into(), log, "-d".into(), format!("tid{events}").into()]
    }

    /// Returns the number of events of each thread so far, by thread id on the host.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn events(&self) -> io::Result<BTreeMap<i32, usize>> {
        self.lines(|event, _| self.events.contains(&event))
    }

    /// Returns the number of events that are to be counted, of each thread so far. They are told by their
    /// names and what QEMU prints with them.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn lines(
        &self,
        is_counted: impl Fn(&str, &str) -> bool,
    ) -> io::Result<BTreeMap<i32, usize>> {
        let mut counts = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if let Some(thread) = thread_of(&path) {
                let text = fs::read(&path)?;
                let text = String::from_utf8_lossy(&text);
                let events = text.lines().filter_map(|line| line.split_once(' '));
                let counted = events.filter(|(event, rest)| is_counted(event, rest));
                counts.insert(thread, counted.count());
            }
        }
        Ok(counts)
    }
}

fn thread_of(path: &Path) -> Option<i32> {
    path.file_name()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_by_thread() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(
            "41",
            "virtio_blk_handle_read vdev 0x1 req 0x2 sector 0 nsectors 8\n\
             warning: something else\n\
             virtio_blk_handle_write vdev 0x1 req 0x2 sector 0 nsectors 8\n",
        );
        // The name of another event starts with that of one that is counted.
        write("42", "virtio_blk_handle_read_done vdev 0x1\n");
        write("no thread", "virtio_blk_handle_read\n");
        let trace = Trace::of_requests(folder.path().to_owned());
        assert_eq!(trace.events().unwrap(), BTreeMap::from([(41, 2), (42, 0)]));
        let reads = trace.lines(|event, rest| event.ends_with("read") && rest.contains("req 0x2"));
        assert_eq!(reads.unwrap(), BTreeMap::from([(41, 1), (42, 0)]));
    }
}
