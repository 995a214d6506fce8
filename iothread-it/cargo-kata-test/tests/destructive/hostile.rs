//! Tests that attack the runner from a guest, as root.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use kata_test::kata_test;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::is_enabled;

const GIB: usize = 1 << 30;

/// Duplicates the virtio-serial port of the guest agent.
fn port_of_init() -> File {
    let fds = fs::read_dir("/proc/1/fd").expect("init's descriptors");
    let port = fds.flatten().find(|fd| {
        let path = fs::read_link(fd.path()).unwrap_or_default();
        path.to_string_lossy().starts_with("/dev/vport")
    });
    let number = port.expect("a port").file_name();
    let number = number.to_str().and_then(|text| text.parse().ok());
    let init = pidfd_open(Pid::INIT, PidfdFlags::empty()).expect("init");
    let port = pidfd_getfd(init, number.expect("a number"), PidfdGetfdFlags::empty());
    port.expect("the port").into()
}

/// Writes bytes without a newline, then blocks.
fn flood(mut to: File, bytes: usize) -> ! {
    let block = [b'x'; 64 << 10];
    for _ in 0..bytes / block.len() {
        // The reader has closed the channel.
        if to.write_all(&block).is_err() {
            break;
        }
    }
    loop {
        sleep(Duration::from_secs(600));
    }
}

/// Returns the harness's record file.
fn record_file() -> PathBuf {
    let folder = std::env::var("KATA_TEST_RECORD_DIR").expect("a folder");
    let run = std::env::var("KATA_TEST_RUN").expect("a run");
    let files = fs::read_dir(PathBuf::from(folder).join("runs").join(run)).expect("a folder");
    let mut paths = files.flatten().map(|file| file.path());
    let is_record = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "jsonl");
    paths.find(is_record).expect("a file of records")
}

/// Reads the record of the start of a test.
fn own_record(test: &str) -> String {
    let text = fs::read_to_string(record_file()).expect("records");
    let mut lines = text.lines();
    let line = lines.find(|line| line.contains(test) && line.contains("\"lost\""));
    line.expect("a record").to_owned()
}

#[kata_test]
fn writes_an_endless_line() {
    if is_enabled() {
        flood(port_of_init(), GIB);
    }
}

#[kata_test]
fn writes_an_endless_record() {
    if is_enabled() {
        let path = record_file().with_file_name("more.jsonl");
        flood(File::create(path).expect("a file"), GIB / 4);
    }
}

#[kata_test]
fn writes_endless_output() {
    if is_enabled() {
        // Past the capture of the test's output.
        let path = format!("/proc/{}/fd/1", parent_id());
        let harness = OpenOptions::new().write(true).open(path);
        flood(harness.expect("the harness's output"), 10 * GIB);
    }
}

#[kata_test]
fn names_a_file_outside() {
    if is_enabled() {
        let mut port = port_of_init();
        let record = own_record("names_a_file_outside").replace('"', "\\\"");
        // One of these is the id of the open request.
        for id in 0..64 {
            let line = format!(
                r#"{{"notice":{{"id":{id},"notice":{{"appended":{{"file":"../../elsewhere.jsonl","bytes":"{record}\n"}}}}}}}}"#
            );
            port.write_all(format!("\n{line}\n").as_bytes())
                .expect("to write");
        }
        sleep(Duration::from_secs(600));
    }
}

/// Forges the agent's answer to the request that runs this test.
#[kata_test]
fn forges_an_answer() {
    if is_enabled() {
        let mut port = port_of_init();
        for id in 0..64 {
            let line = format!(
                r#"{{"answer":{{"id":{id},"outcome":{{"Err":{{"kind":"bad-request","message":"forged"}}}}}}}}"#
            );
            port.write_all(format!("\n{line}\n").as_bytes())
                .expect("to write");
        }
        sleep(Duration::from_secs(600));
    }
}

/// Forges records of a test that runs later, and records with extreme durations.
#[kata_test]
fn forges_records() {
    if is_enabled() {
        let own = own_record("forges_records").replace("\"lost\"", "\"passed\"");
        let victim = own.replace("forges_records", "victim_fails_on_own_machine");
        let nobody = own.replace("forges_records", "nobody");
        let wild = |record: &str, number| {
            let start = record.split("\"duration_ms\":").next().expect("a start");
            format!("{start}\"duration_ms\":{number},\"measures\":{{\"x\":1e308}}}}\n")
        };
        let mut lines = format!(
            "{victim}\n{nobody}\n{}\n",
            victim.replace("destructive", "it")
        );
        for record in [&own, &victim] {
            lines += &wild(record, "1e308");
            lines += &wild(record, "-1e308");
        }
        for name in ["more.jsonl", "zzz.jsonl"] {
            fs::write(record_file().with_file_name(name), &lines).expect("to write");
        }
        let mut file = OpenOptions::new().append(true).open(record_file());
        let file = file.as_mut().expect("the harness's records");
        file.write_all(lines.as_bytes()).expect("to write");
    }
}

#[kata_test]
fn victim_fails_on_own_machine() {
    assert!(!is_enabled(), "expected failure");
}

/// Kills its harness.
#[kata_test]
fn kills_the_harness() {
    if is_enabled() {
        let harness = i32::try_from(parent_id()).ok().and_then(Pid::from_raw);
        let killed = rustix::process::kill_process(
            harness.expect("a parent"),
            rustix::process::Signal::KILL,
        );
        killed.expect("a signal");
        sleep(Duration::from_secs(600));
    }
}
