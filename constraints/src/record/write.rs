//! Appends lines to this process's file.

use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::folder::Folder;
use super::paths::at;
use super::{ArtifactsFolder, ArtifactsRoot, RecordLine, paths, reasons_text};
use crate::runner_env::{self, PRINTED};
use crate::sys::stderr;

/// The file of this process, and the fields that its lines share.
struct Writer {
    file: File,
    folder: Folder,
    run: String,
    place: String,
    /// Which attempt of nextest this process is.
    attempt: u32,
    uid: u32,
}

/// Lines that are not written yet.
#[derive(Default)]
pub(crate) struct Lines(String);

impl Lines {
    /// Adds a record. [Write](Self::flush) it before anything that may end the process.
    pub(crate) fn add(&mut self, record: &RecordLine<'_>) {
        self.add_with_reasons(record, &reasons_text(record.reasons));
    }

    /// The same with the text of its reasons, which many records can share.
    pub(crate) fn add_with_reasons(&mut self, record: &RecordLine<'_>, reasons: &str) {
        if let Some(writer) = writer(record.binary) {
            let Writer {
                run,
                place,
                attempt,
                uid,
                ..
            } = writer;
            let record = RecordLine {
                attempt: record.attempt + attempt - 1,
                ..*record
            };
            self.0
                .push_str(&record.line_with_reasons(run, place, *uid, reasons));
        }
    }

    /// Writes the lines. An error is printed once and fails no test.
    pub(crate) fn flush(&mut self) {
        if self.0.is_empty() {
            return;
        }
        // Lines were added, so there is a writer for any binary id.
        if let Some(writer) = writer("") {
            // One write(2), so that lines of several threads do not mix.
            if let Err(error) = (&writer.file).write_all(self.0.as_bytes()) {
                complain(&error);
            }
        }
        self.0.clear();
    }
}

/// The folders for the files of a binary's tests.
#[derive(Default)]
pub(crate) struct ArtifactsFolders(Option<Arc<ArtifactsRoot>>);

impl ArtifactsFolders {
    /// Makes the folder of an attempt of this process. An error is printed once and fails no test.
    pub(crate) fn make(
        &mut self,
        binary: &str,
        test: &str,
        number: u32,
    ) -> Option<ArtifactsFolder> {
        let writer = writer(binary)?;
        let attempt = number + writer.attempt - 1;
        let mut make = || {
            let is_old = self.0.is_some();
            let made = ArtifactsFolder::make(self.root(writer, binary)?, test, attempt);
            match made {
                // Another process of the binary has removed it.
                Err(error) if is_old && error.kind() == io::ErrorKind::NotFound => {
                    self.0 = None;
                    ArtifactsFolder::make(self.root(writer, binary)?, test, attempt)
                }
                made => made,
            }
        };
        make()
            .map_err(|error| complain(&at(writer.folder.path(), &error)))
            .ok()
    }

    fn root(&mut self, writer: &Writer, binary: &str) -> io::Result<&Arc<ArtifactsRoot>> {
        let root = match self.0.take() {
            Some(root) => root,
            None => Arc::new(ArtifactsRoot::make(&writer.folder, &writer.place, binary)?),
        };
        Ok(self.0.insert(root))
    }
}

impl Drop for ArtifactsFolders {
    fn drop(&mut self) {
        if let Some(root) = &self.0 {
            // Under nextest the next process is about to make them again.
            match env::var_os("NEXTEST").is_some() {
                true => root.remove_spare(),
                false => root.remove_empty(),
            }
        }
    }
}

/// Writes a record of a test under libtest. A runner that has started this process for the test gets it on
/// standard error, on a line of its own; returns whether that is so.
pub(crate) fn print_or_write(record: &RecordLine<'_>) -> bool {
    let prints = runner_env::prints_record_of(record.test);
    if prints {
        let uid = nix::unistd::geteuid().as_raw();
        let line = record.to_line(&paths::run(), &runner_env::place(), uid);
        stderr(&format!("\n{PRINTED}{line}"));
    } else {
        let mut lines = Lines::default();
        lines.add(record);
        lines.flush();
    }
    prints
}

/// The writer of this process, opened for the first record.
fn writer(binary: &str) -> Option<&'static Writer> {
    static WRITER: OnceLock<Option<Writer>> = OnceLock::new();
    let open = || Writer::open(binary).map_err(|error| complain(&error)).ok();
    WRITER.get_or_init(open).as_ref()
}

impl Writer {
    fn open(binary: &str) -> io::Result<Self> {
        let run = paths::run();
        let folder = paths::folder(&run)?;
        Ok(Self {
            file: own_file(&folder, binary)?,
            folder,
            run,
            place: runner_env::place(),
            attempt: attempt(),
            uid: nix::unistd::geteuid().as_raw(),
        })
    }
}

/// Creates a file of this process's own. An existing one belongs to an earlier process with this pid,
/// or another user has put it there for root to write into.
fn own_file(folder: &Folder, binary: &str) -> io::Result<File> {
    let (binary, pid) = (paths::file_name(binary), std::process::id());
    let mut count = 0;
    loop {
        let name = match count {
            0 => format!("{binary}-{pid}.jsonl"),
            count => format!("{binary}-{pid}-{count}.jsonl"),
        };
        match folder.create(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => count += 1,
            created => return created.map_err(|error| at(&folder.path().join(name), &error)),
        }
    }
}

/// Which attempt of nextest at this test this is.
fn attempt() -> u32 {
    let attempt = env::var("NEXTEST_ATTEMPT").ok();
    attempt
        .and_then(|attempt| attempt.parse().ok())
        .unwrap_or(1)
        .max(1)
}

/// Prints the first error of writing.
pub(super) fn complain(error: &io::Error) {
    static PRINTED: AtomicBool = AtomicBool::new(false);
    if !PRINTED.swap(true, Ordering::Relaxed) {
        stderr(&format!(
            "kata-test: cannot write the records of this run: {error}\n"
        ));
    }
}
