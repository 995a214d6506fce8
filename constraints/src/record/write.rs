//! Appends lines to this process's file.

use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::hand_over::Folder;
use super::place::at;
use super::{Process, RecordLine, place};
use crate::elsewhere;
use crate::sys::stderr;

/// The open file of this process, and what all of its lines have in common.
struct Writer {
    file: File,
    process: Process,
}

/// Lines that are yet to be written.
#[derive(Default)]
pub(crate) struct Lines(String);

impl Lines {
    /// Adds a record. It is of use only when it is [written](Self::flush): before anything happens
    /// that may end the process.
    pub(crate) fn add(&mut self, record: &RecordLine<'_>) {
        if let Some(writer) = writer(record.binary) {
            record.write_line(&mut self.0, &writer.process);
        }
    }

    /// Writes what there is. What cannot be written is said once, on stderr, and fails no test.
    pub(crate) fn flush(&mut self) {
        if self.0.is_empty() {
            return;
        }
        // Lines were made, so there is a writer, whatever the binary is called.
        if let Some(writer) = writer("") {
            // One call of write(2), so that lines are whole whatever other threads do.
            if let Err(error) = (&writer.file).write_all(self.0.as_bytes()) {
                complain(&error);
            }
        }
        self.0.clear();
    }
}

/// Writes a record.
pub(crate) fn write(record: &RecordLine<'_>) {
    write_all(std::slice::from_ref(record));
}

/// Writes records of one binary in one go.
pub(crate) fn write_all(records: &[RecordLine<'_>]) {
    let mut lines = Lines::default();
    records.iter().for_each(|record| lines.add(record));
    lines.flush();
}

/// The writer of this process, opened for the first record.
fn writer(binary: &str) -> Option<&'static Writer> {
    static WRITER: OnceLock<Option<Writer>> = OnceLock::new();
    let open = || Writer::open(binary).map_err(|error| complain(&error)).ok();
    WRITER.get_or_init(open).as_ref()
}

impl Writer {
    fn open(binary: &str) -> io::Result<Self> {
        let run = place::run();
        let folder = place::folder(&run)?;
        Ok(Self {
            file: own_file(&folder, binary)?,
            process: Process::new(
                &run,
                binary,
                &elsewhere::name(),
                attempt(),
                nix::unistd::geteuid().as_raw(),
            ),
        })
    }
}

/// Creates a file that nobody else writes to. One of the same name is of an earlier process with this
/// id, or was put there for root to write into.
fn own_file(folder: &Folder, binary: &str) -> io::Result<File> {
    let (binary, pid) = (place::file_name(binary), std::process::id());
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
}

/// Says once that something cannot be written.
pub(super) fn complain(error: &io::Error) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        stderr(&format!(
            "kata-test: no record of this test run can be written: {error}\n"
        ));
    }
}
