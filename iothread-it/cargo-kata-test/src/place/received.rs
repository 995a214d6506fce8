//! Files from a guest, which is not trusted: paths stay in the folder, nothing is replaced, and number and
//! sizes are bounded.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};

use kata_test::__runner::Folder;

/// The maximum length of a file's name on Linux, in bytes.
const MAX_FILE_NAME: usize = 255;

/// How many files that are left out are named.
const MAX_NAMED: usize = 20;

/// How much of a path is named, in characters.
const MAX_NAMED_CHARS: usize = 200;

const FULL: &str = "the disk is almost full";

/// How much a folder may receive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) file_bytes: u64,
    pub(super) bytes: u64,
    pub(super) files: u32,
    pub(super) depth: usize,
    /// How much stays free on the disk, in bytes.
    pub(super) free_bytes: u64,
}

/// A folder that receives files.
#[derive(Debug)]
pub(super) struct ReceivedFolder {
    folder: Folder,
    limits: Limits,
    files: u32,
    bytes: u64,
    open: Option<OpenFile>,
    /// Why files are left out, each once.
    left_out: BTreeMap<String, String>,
    more_left_out: usize,
}

/// The file whose pieces arrive.
#[derive(Debug)]
struct OpenFile {
    path: String,
    length: u64,
    /// `None` if the rest is dropped.
    file: Option<File>,
}

impl ReceivedFolder {
    pub(super) fn new(folder: Folder, limits: Limits) -> Self {
        Self {
            folder,
            limits,
            files: 0,
            bytes: 0,
            open: None,
            left_out: BTreeMap::new(),
            more_left_out: 0,
        }
    }

    /// Takes a piece of a file. The pieces of a file follow one another. Returns whether it was taken or is after
    /// one that was not.
    pub(super) fn receive(&mut self, path: &str, offset: u64, bytes: &[u8]) -> bool {
        let taken = self.take(path, offset, bytes);
        if let Err(why) = &taken {
            self.leave_out(path, why);
        }
        taken.is_ok()
    }

    fn take(&mut self, path: &str, offset: u64, bytes: &[u8]) -> Result<(), String> {
        let has_room = self.has_room();
        let sent = bytes.len() as u64;
        if offset == 0 {
            let created = self.create(path);
            let is_new = created.is_ok();
            self.files += u32::from(is_new);
            let (file, why) = match created {
                Ok(file) => (Some(file), None),
                Err(why) => (None, Some(why)),
            };
            self.open = Some(OpenFile {
                path: path.to_owned(),
                length: if is_new { 0 } else { sent },
                file,
            });
            why.map_or(Ok(()), Err)?;
        }
        let Some(open) = &mut self.open else {
            return Err("it has no beginning".to_owned());
        };
        if open.path != path || open.length != offset {
            self.open = None;
            return Err("a piece is missing".to_owned());
        }
        let Some(file) = &mut open.file else {
            open.length += sent;
            return Ok(());
        };
        let of_file = self.limits.file_bytes.saturating_sub(open.length);
        let room = of_file.min(self.limits.bytes.saturating_sub(self.bytes));
        let taken = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let written = match has_room {
            true => file.write_all(&bytes[..taken]),
            false => Err(io::Error::other(FULL)),
        };
        open.length += sent;
        self.bytes += taken as u64;
        let why = match written {
            Ok(()) if taken == bytes.len() => return Ok(()),
            Ok(()) => "it is too large: only its beginning is kept".to_owned(),
            Err(error) => format!("cannot write it: {error}"),
        };
        open.file = None;
        Err(why)
    }

    /// Notes that a file is not here, or not whole.
    pub(super) fn leave_out(&mut self, path: &str, why: &str) {
        let mut shown: String = path.chars().take(MAX_NAMED_CHARS).collect();
        if shown.chars().any(char::is_control) {
            shown = shown.escape_debug().to_string();
        }
        match self.left_out.len() < MAX_NAMED || self.left_out.contains_key(&shown) {
            true => drop(self.left_out.entry(shown).or_insert_with(|| why.to_owned())),
            false => self.more_left_out += 1,
        }
    }

    /// Returns what is left out, and why.
    pub(super) fn finish(self) -> Vec<String> {
        let named = self.left_out.into_iter();
        let named = named.map(|(path, why)| format!("{path}: {why}"));
        let more = (self.more_left_out > 0).then(|| format!("{} more files", self.more_left_out));
        named.chain(more).collect()
    }

    /// Whether enough stays free on the disk.
    fn has_room(&self) -> bool {
        let Ok(stat) = rustix::fs::fstatvfs(&self.folder) else {
            return true;
        };
        stat.f_bavail.saturating_mul(stat.f_frsize) >= self.limits.free_bytes
    }

    fn create(&self, path: &str) -> Result<File, String> {
        let names: Vec<&str> = path.split('/').collect();
        let is_name = |name: &&str| {
            let is_dots = matches!(*name, "" | "." | "..");
            !is_dots && name.len() <= MAX_FILE_NAME && !name.contains('\0')
        };
        if names.len() > self.limits.depth + 1 || !names.iter().all(is_name) {
            return Err("it is no path in its folder".to_owned());
        }
        if !self.has_room() {
            return Err(format!("cannot create it: {FULL}"));
        }
        if self.files >= self.limits.files {
            return Err("there are too many files".to_owned());
        }
        let create = || -> io::Result<File> {
            let (name, folders) = names.split_last().expect("a path has a part");
            let mut inner = None;
            for name in folders {
                inner = Some(inner.as_ref().unwrap_or(&self.folder).make_inner(name)?);
            }
            inner.as_ref().unwrap_or(&self.folder).create(name)
        };
        create().map_err(|error| format!("cannot create it: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const LIMITS: Limits = Limits {
        file_bytes: 8,
        bytes: 20,
        files: 5,
        depth: 2,
        free_bytes: 0,
    };

    fn received(prepare: impl Fn(&std::path::Path), pieces: &[(&str, u64, &str)]) -> String {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("inner");
        fs::create_dir(&path).unwrap();
        prepare(&path);
        let (folder, _) = Folder::make(&path).unwrap();
        let mut received = ReceivedFolder::new(folder, LIMITS);
        for (path, offset, text) in pieces {
            received.receive(path, *offset, text.as_bytes());
        }
        let mut found = received.finish();
        let around = fs::read_dir(outer.path()).unwrap().count();
        assert_eq!(around, 1, "nothing is written outside");
        let mut folders = vec![path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let kind = entry.file_type().unwrap();
                let at = entry.path();
                if kind.is_dir() {
                    folders.push(at);
                } else if kind.is_file() {
                    let name = at.strip_prefix(&path).unwrap().display();
                    let text = fs::read_to_string(&at).unwrap();
                    found.push(format!("{name} = {text}"));
                }
            }
        }
        found.sort();
        found.join("\n")
    }

    #[test]
    fn files_come_whole_and_in_their_folders() {
        let pieces = [
            ("a", 0, "one"),
            ("a", 3, "two"),
            ("b/c/d", 0, "x"),
            ("e", 0, ""),
        ];
        assert_eq!(received(|_| {}, &pieces), "a = onetwo\nb/c/d = x\ne = ");
    }

    #[test]
    fn no_path_leads_out_and_nothing_is_replaced() {
        for path in [
            "/x",
            "../x",
            "a/../../x",
            "",
            "a//b",
            ".",
            "a\0b",
            "1/2/3/4",
        ] {
            let found = received(|_| {}, &[(path, 0, "x")]);
            assert!(found.ends_with("it is no path in its folder"), "{found}");
        }
        let links = |folder: &std::path::Path| {
            symlink("..", folder.join("up")).unwrap();
            symlink("../x", folder.join("out")).unwrap();
        };
        let found = received(links, &[("up/x", 0, "x"), ("out", 0, "x")]);
        assert_eq!(found.matches("cannot create it").count(), 2, "{found}");
        let found = received(|_| {}, &[("a", 0, "1"), ("a", 0, "2"), ("a/b", 0, "3")]);
        assert!(found.contains("a = 1") && !found.contains('3'), "{found}");
    }

    #[test]
    fn sizes_and_numbers_are_bounded() {
        let pieces = [
            ("a", 0, "12345678"),
            ("a", 8, "9"),
            ("a", 9, "0"),
            ("b", 1, "x"),
            ("c", 0, "1234"),
            ("c", 5, "x"),
            ("d", 0, "12345678"),
            ("e", 0, "x"),
            ("f", 0, ""),
            ("g", 0, "x"),
            ("\u{1b}", 0, "x"),
        ];
        assert_eq!(
            received(|_| {}, &pieces),
            "\\u{1b}: there are too many files\n\
             a = 12345678\n\
             a: it is too large: only its beginning is kept\n\
             b: a piece is missing\n\
             c = 1234\n\
             c: a piece is missing\n\
             d = 12345678\n\
             e = \n\
             e: it is too large: only its beginning is kept\n\
             f = \n\
             g: there are too many files"
        );
        let many: Vec<String> = (0..50).map(|number| format!("../{number}")).collect();
        let pieces: Vec<_> = many.iter().map(|path| (&**path, 0, "x")).collect();
        let found = received(|_| {}, &pieces);
        assert_eq!(found.lines().count(), MAX_NAMED + 1);
        assert!(found.contains("30 more files"), "{found}");
    }

    #[test]
    fn a_disk_is_not_filled() {
        let outer = tempfile::tempdir().unwrap();
        let (folder, _) = Folder::make(outer.path()).unwrap();
        let mut received = ReceivedFolder::new(folder, LIMITS);
        received.receive("a", 0, b"1");
        received.limits.free_bytes = u64::MAX;
        received.receive("a", 1, b"2");
        received.receive("b", 0, b"");
        let expected = [
            format!("a: cannot write it: {FULL}"),
            format!("b: cannot create it: {FULL}"),
        ];
        assert_eq!(received.finish(), expected);
        assert_eq!(fs::read(outer.path().join("a")).unwrap(), b"1");
        assert!(!outer.path().join("b").exists());
    }
}
