//! Appends lines to this process's file.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::place::at;
use super::{Record, place};
use crate::elsewhere;
use crate::sys::stderr;

/// The open file of this process, and what all of its lines have in common.
struct Writer {
    file: File,
    run: String,
    place: String,
    attempt: u32,
}

/// Writes a record. What cannot be written is said once, on stderr, and fails no test.
pub(crate) fn write(record: &Record<'_>) {
    write_all(std::slice::from_ref(record));
}

/// Writes records of one binary in one go.
pub(crate) fn write_all(records: &[Record<'_>]) {
    static WRITER: OnceLock<Option<Writer>> = OnceLock::new();
    let Some(first) = records.first() else { return };
    let open = || {
        Writer::open(first.binary)
            .map_err(|error| complain(&error))
            .ok()
    };
    let Some(writer) = WRITER.get_or_init(open) else {
        return;
    };
    let uid = nix::unistd::geteuid().as_raw();
    let line =
        |record: &Record<'_>| record.to_line(&writer.run, &writer.place, writer.attempt, uid);
    let lines: String = records.iter().map(line).collect();
    // One call of write(2), so that lines are whole whatever other threads do.
    if let Err(error) = (&writer.file).write_all(lines.as_bytes()) {
        complain(&error);
    }
}

impl Writer {
    fn open(binary: &str) -> io::Result<Self> {
        let run = place::run();
        let dir = place::folder(&run)?;
        let name = format!("{}-{}.jsonl", place::file_name(binary), std::process::id());
        let path = dir.join(name);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|error| at(&path, &error))?;
        Ok(Self {
            file,
            run,
            place: elsewhere::name(),
            attempt: attempt(),
        })
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
