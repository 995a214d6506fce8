//! Sends the files that programs left in folders for them.

use std::cmp::Ordering;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use guest_agent::protocol::{
    Binary, Collect, CollectedFolder, LeftOut, MAX_COLLECTED_BYTES, MAX_COLLECTED_DEPTH,
    MAX_COLLECTED_FILE_BYTES, MAX_COLLECTED_FILES, Notice, Piece,
};
use nix::libc;

use crate::rootfs;
use crate::sync::lock;

/// The maximum size of a notice, in bytes.
const CHUNK: u64 = 64 * 1024;

/// Folders whose files are sent.
pub(crate) struct Collector {
    collect: Collect,
    /// How much of the file with the names of complete folders was read, in bytes.
    read: Mutex<u64>,
}

type Send<'a> = &'a (dyn Fn(Notice) + Sync);

impl Collector {
    /// Makes the folders, which all users may write to.
    pub(crate) fn start(collect: &Collect) -> io::Result<Self> {
        for folder in &collect.folders {
            rootfs::make(&Path::new(&collect.root).join(&folder.path), 0o1777)?;
        }
        Ok(Self {
            collect: collect.clone(),
            read: Mutex::default(),
        })
    }

    /// Sends and removes the folders that are complete by now. What cannot be read is sent at the end.
    pub(crate) fn send_ended(&self, send: Send<'_>) {
        let mut read = lock(&self.read);
        let _ = self.read_ended(&mut read, |folder| self.send_folder(folder, 1, send));
    }

    /// Reads the new lines of the file with the names of complete folders.
    fn read_ended(&self, read: &mut u64, is_complete: impl Fn(&str)) -> io::Result<()> {
        let Some(path) = &self.collect.ended else {
            return Ok(());
        };
        let mut file = BufReader::new(File::open(path)?);
        file.seek(SeekFrom::Start(*read))?;
        loop {
            let mut line = Vec::new();
            let length = file.by_ref().take(CHUNK).read_until(b'\n', &mut line)?;
            let Some(folder) = line.strip_suffix(b"\n") else {
                return Ok(());
            };
            *read += length as u64;
            if let Ok(folder) = str::from_utf8(folder)
                && self.is_collected(folder)
            {
                is_complete(folder);
            }
        }
    }

    /// Returns whether a folder is one of those that are collected, or below one. Tests can write its name, and make
    /// links on the way to it.
    fn is_collected(&self, folder: &str) -> bool {
        let root = Path::new(&self.collect.root);
        let is_named = |of: &CollectedFolder| Path::new(folder).starts_with(&of.path);
        let is_there = || -> io::Result<bool> {
            Ok(root.join(folder).canonicalize()? == root.canonicalize()?.join(folder))
        };
        self.collect.folders.iter().any(is_named) && is_there().unwrap_or(false)
    }

    /// Sends and removes what is left.
    pub(crate) fn send_rest(&self, send: Send<'_>) {
        self.send_ended(send);
        for folder in &self.collect.folders {
            self.send_folder(&folder.path, folder.limits, send);
        }
        // Unless there are records.
        let _ = fs::remove_dir(&self.collect.root);
    }

    fn send_folder(&self, folder: &str, limits: u32, send: Send<'_>) {
        let path = Path::new(&self.collect.root).join(folder);
        let mut sender = Sender {
            send,
            max_files: MAX_COLLECTED_FILES.saturating_mul(limits),
            max_bytes: MAX_COLLECTED_BYTES.saturating_mul(limits.into()),
            files: 0,
            bytes: 0,
            left_out: 0,
        };
        sender.folder(&path, folder, 0);
        let _ = fs::remove_dir_all(path);
    }
}

/// Sends the files of a folder, within limits.
struct Sender<'a> {
    send: Send<'a>,
    max_files: u32,
    max_bytes: u64,
    files: u32,
    bytes: u64,
    left_out: u32,
}

impl Sender<'_> {
    fn leave_out(&mut self, path: &str, why: LeftOut) {
        self.left_out += 1;
        let why = match self.left_out.cmp(&MAX_COLLECTED_FILES) {
            Ordering::Less => why,
            Ordering::Equal => LeftOut::TooMany,
            Ordering::Greater => return,
        };
        let path = path.to_owned();
        (self.send)(Notice::LeftOut { path, why });
    }

    fn folder(&mut self, folder: &Path, name: &str, depth: usize) {
        let entries = match fs::read_dir(folder) {
            // No test has made one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(_) => return self.leave_out(name, LeftOut::Unreadable),
            Ok(entries) => entries,
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let Some(file_name) = path.file_name().and_then(|name| name.to_str()) else {
                let path = path.to_string_lossy().into_owned();
                self.leave_out(&path, LeftOut::Name);
                continue;
            };
            let name = format!("{name}/{file_name}");
            let kind = path.symlink_metadata().map(|data| data.file_type());
            match kind {
                Ok(kind) if kind.is_dir() && depth < MAX_COLLECTED_DEPTH => {
                    self.folder(&path, &name, depth + 1);
                }
                Ok(kind) if kind.is_dir() => self.leave_out(&name, LeftOut::TooDeep),
                Ok(kind) if !kind.is_file() => self.leave_out(&name, LeftOut::NoFile),
                Ok(_) if self.files == self.max_files => {
                    // Once is enough.
                    self.files += 1;
                    self.leave_out(&name, LeftOut::TooMany);
                }
                Ok(_) if self.files > self.max_files => {}
                Ok(_) => {
                    self.files += 1;
                    if self.file(&path, &name).is_err() {
                        self.leave_out(&name, LeftOut::Unreadable);
                    }
                }
                Err(_) => self.leave_out(&name, LeftOut::Unreadable),
            }
        }
    }

    fn file(&mut self, path: &Path, name: &str) -> io::Result<()> {
        let mut options = OpenOptions::new();
        // A pipe in its place would have no writer.
        options
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(path)?;
        if !file.metadata()?.is_file() {
            self.leave_out(name, LeftOut::NoFile);
            return Ok(());
        }
        let most = MAX_COLLECTED_FILE_BYTES.min(self.max_bytes.saturating_sub(self.bytes));
        let mut file = file.take(most);
        let mut offset = 0;
        loop {
            let mut bytes = Vec::new();
            file.by_ref().take(CHUNK).read_to_end(&mut bytes)?;
            let length = bytes.len() as u64;
            // An empty file is sent too.
            if length > 0 || offset == 0 {
                let (path, bytes) = (name.to_owned(), Binary(bytes));
                (self.send)(Notice::Collected(Piece {
                    path,
                    offset,
                    bytes,
                }));
            }
            offset += length;
            if length == 0 {
                break;
            }
        }
        self.bytes += offset;
        if offset == most && file.into_inner().read(&mut [0])? > 0 {
            self.leave_out(name, LeftOut::TooLarge);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Mutex;

    use super::*;

    fn one(path: &str) -> CollectedFolder {
        CollectedFolder {
            path: path.to_owned(),
            limits: 1,
        }
    }

    fn collected(collector: &Collector, rest: bool) -> Vec<String> {
        let heard = Mutex::new(Vec::new());
        let send = |notice| {
            let text = match notice {
                Notice::Collected(Piece {
                    path,
                    offset,
                    bytes,
                }) => format!("{path} {offset} {}", bytes.0.len()),
                Notice::LeftOut { path, why } => format!("{path} {why:?}"),
                other => panic!("{other:?}"),
            };
            heard.lock().unwrap().push(text);
        };
        match rest {
            true => collector.send_rest(&send),
            false => collector.send_ended(&send),
        }
        heard.into_inner().unwrap()
    }

    #[test]
    fn complete_folders_are_sent_at_once_and_the_rest_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let ended = folder.path().join("ended");
        let collect = Collect {
            root: folder.path().to_str().unwrap().to_owned(),
            folders: vec![one("artifacts"), one("profiles")],
            ended: Some(ended.to_str().unwrap().to_owned()),
        };
        let collector = Collector::start(&collect).unwrap();
        let at = |name: &str| folder.path().join("artifacts").join(name);
        for name in ["a/deep", "b"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::write(at("a/deep/file"), "text").unwrap();
        fs::write(at("a/empty"), "").unwrap();
        fs::write(at("a/large"), vec![0; CHUNK as usize + 1]).unwrap();
        symlink("/etc/passwd", at("a/link")).unwrap();
        nix::unistd::mkfifo(&at("a/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::write(at("b/file"), "more").unwrap();
        assert_eq!(collected(&collector, false), [""; 0], "none is complete");
        fs::write(&ended, "artifacts/a\nartifacts/b").unwrap();
        let expected = [
            "artifacts/a/deep/file 0 4",
            "artifacts/a/empty 0 0",
            "artifacts/a/large 0 65536",
            "artifacts/a/large 65536 1",
            "artifacts/a/link NoFile",
            "artifacts/a/pipe NoFile",
        ];
        assert_eq!(collected(&collector, false), expected);
        assert!(!at("a").exists(), "its memory is free again");
        assert_eq!(collected(&collector, true), ["artifacts/b/file 0 4"]);
    }

    /// Tests can write to the file, and the folders are removed by root.
    #[test]
    fn only_folders_below_those_that_are_collected_are_complete() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["outside", "root/beside"] {
            fs::create_dir_all(at(name)).unwrap();
            fs::write(at(name).join("file"), "text").unwrap();
        }
        let collect = Collect {
            root: at("root").to_str().unwrap().to_owned(),
            folders: vec![one("artifacts")],
            ended: Some(at("ended").to_str().unwrap().to_owned()),
        };
        let collector = Collector::start(&collect).unwrap();
        symlink(folder.path(), at("root/artifacts/link")).unwrap();
        let absolute = at("outside");
        let names = [
            "",
            ".",
            "..",
            "../outside",
            "artifacts/../../outside",
            "artifacts/link/outside",
            "beside",
            absolute.to_str().unwrap(),
        ];
        fs::write(at("ended"), names.map(|name| format!("{name}\n")).concat()).unwrap();
        assert_eq!(collected(&collector, false), [""; 0]);
        assert!(at("outside/file").exists() && at("root/beside/file").exists());
    }

    #[test]
    fn a_name_that_is_no_text_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let ended = folder.path().join("ended");
        let collect = Collect {
            root: folder.path().to_str().unwrap().to_owned(),
            folders: vec![one("x")],
            ended: Some(ended.to_str().unwrap().to_owned()),
        };
        let collector = Collector::start(&collect).unwrap();
        for name in ["a", "b"] {
            let path = folder.path().join("x").join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("file"), "").unwrap();
        }
        fs::write(&ended, b"x/a\nx/\xff\nx/b\n").unwrap();
        let expected = ["x/a/file 0 0", "x/b/file 0 0"];
        assert_eq!(collected(&collector, false), expected);
    }

    #[test]
    fn what_exceeds_the_limits_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let collect = Collect {
            root: folder.path().to_str().unwrap().to_owned(),
            folders: vec![one("x")],
            ended: None,
        };
        let collector = Collector::start(&collect).unwrap();
        let at = |name: &str| folder.path().join("x").join(name);
        let sparse = File::create(at("a-large")).unwrap();
        sparse.set_len(MAX_COLLECTED_FILE_BYTES + 1).unwrap();
        for number in 0..MAX_COLLECTED_FILES {
            fs::write(at(&format!("b-{number:05}")), "").unwrap();
        }
        let found = collected(&collector, true);
        let large = found.iter().position(|one| one == "x/a-large TooLarge");
        assert_eq!(large, Some((MAX_COLLECTED_FILE_BYTES / CHUNK) as usize));
        let last = format!("x/b-{:05} TooMany", MAX_COLLECTED_FILES - 1);
        assert_eq!(found.last(), Some(&last));
    }

    #[test]
    fn links_are_named_up_to_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let collect = Collect {
            root: folder.path().to_str().unwrap().to_owned(),
            folders: vec![one("x")],
            ended: None,
        };
        let collector = Collector::start(&collect).unwrap();
        let at = |name: &str| folder.path().join("x").join(name);
        for number in 0..2 * MAX_COLLECTED_FILES {
            symlink("/", at(&format!("a-{number:05}"))).unwrap();
        }
        fs::write(at("b"), "").unwrap();
        let found = collected(&collector, true);
        assert_eq!(found.len(), MAX_COLLECTED_FILES as usize + 1);
        let last = format!("x/a-{:05} TooMany", MAX_COLLECTED_FILES - 1);
        let last_but_one = &found[found.len() - 2];
        assert_eq!(*last_but_one, last);
        assert_eq!(found.last().unwrap(), "x/b 0 0");
    }

    #[test]
    fn a_folder_of_several_tests_has_their_limits() {
        let folder = tempfile::tempdir().unwrap();
        let shared = CollectedFolder {
            limits: 2,
            ..one("x")
        };
        let collect = Collect {
            root: folder.path().to_str().unwrap().to_owned(),
            folders: vec![shared],
            ended: None,
        };
        let collector = Collector::start(&collect).unwrap();
        for number in 0..=2 * MAX_COLLECTED_FILES {
            fs::write(folder.path().join(format!("x/{number:05}")), "").unwrap();
        }
        let found = collected(&collector, true);
        assert_eq!(found.len(), 2 * MAX_COLLECTED_FILES as usize + 1);
        assert_eq!(found.last().unwrap(), "x/02000 TooMany");
    }
}
