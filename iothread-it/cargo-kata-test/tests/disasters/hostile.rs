//! Tests that attack the runner from their guest, as root.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use kata_test::kata_test;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::on_stage;

const GIB: usize = 1 << 30;

/// Takes the channel to the host from the guest's init process.
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

/// Writes so many bytes, none of which ends a line, and waits for the end.
fn flood(mut to: File, bytes: usize) -> ! {
    let block = [b'x'; 64 << 10];
    for _ in 0..bytes / block.len() {
        // Who refuses it has closed the way.
        if to.write_all(&block).is_err() {
            break;
        }
    }
    loop {
        sleep(Duration::from_secs(600));
    }
}

/// The harness's file of records.
fn record_file() -> PathBuf {
    let folder = std::env::var("KATA_TEST_RECORD_DIR").expect("a folder");
    let run = std::env::var("KATA_TEST_RUN").expect("a run");
    let files = fs::read_dir(PathBuf::from(folder).join("runs").join(run)).expect("a folder");
    let mut paths = files.flatten().map(|file| file.path());
    let is_record = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "jsonl");
    paths.find(is_record).expect("a file of records")
}

/// The record that says that a test has begun.
fn own_record(test: &str) -> String {
    let text = fs::read_to_string(record_file()).expect("records");
    let mut lines = text.lines();
    let line = lines.find(|line| line.contains(test) && line.contains("\"lost\""));
    line.expect("a record").to_owned()
}

#[kata_test]
fn a_line_has_no_end() {
    if on_stage() {
        flood(port_of_init(), GIB);
    }
}

#[kata_test]
fn a_record_has_no_end() {
    if on_stage() {
        let path = record_file().with_file_name("more.jsonl");
        flood(File::create(path).expect("a file"), GIB / 4);
    }
}

#[kata_test]
fn output_has_no_end() {
    if on_stage() {
        // Past the capture of the test's output.
        let path = format!("/proc/{}/fd/1", parent_id());
        let harness = OpenOptions::new().write(true).open(path);
        flood(harness.expect("the harness's output"), 10 * GIB);
    }
}

#[kata_test]
fn a_file_is_named_elsewhere() {
    if on_stage() {
        let mut port = port_of_init();
        let record = own_record("a_file_is_named_elsewhere").replace('"', "\\\"");
        // One of these numbers is that of the request.
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

/// Answers the request that runs this test, in the agent's name.
#[kata_test]
fn an_answer_is_forged() {
    if on_stage() {
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

/// The program that the kernel starts for a process that dumps core.
const CORE_HANDLER: &str = "/tmp/core-handler";

/// Leaves a program that the kernel starts later, when nobody looks for what this test has left.
#[kata_test]
fn a_core_handler_is_left() {
    if on_stage() {
        fs::copy("/proc/self/exe", CORE_HANDLER).expect("a copy");
        let command = format!("|{CORE_HANDLER} --exact hostile::core_handler");
        fs::write("/proc/sys/kernel/core_pattern", command).expect("a setting");
    }
}

/// Forges records of all tests of the harness that runs, as the core handler.
#[kata_test]
fn core_handler() {
    if std::env::current_exe().expect("a path") == Path::new(CORE_HANDLER) {
        forge_records();
    }
}

fn forge_records() {
    for process in fs::read_dir("/proc").expect("processes").flatten() {
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment);
        let value = |name: &str| {
            let mut variables = environment.split('\0');
            variables.find_map(|variable| variable.strip_prefix(name)?.strip_prefix('='))
        };
        let (Some(folder), Some(run)) = (value("KATA_TEST_RECORD_DIR"), value("KATA_TEST_RUN"))
        else {
            continue;
        };
        let root = process.path().join("root");
        let folder = root
            .join(folder.trim_start_matches('/'))
            .join("runs")
            .join(run);
        let files = fs::read_dir(&folder).into_iter().flatten().flatten();
        for file in files {
            let records = fs::read_to_string(file.path()).unwrap_or_default();
            let forged = records.replace("\"lost\"", "\"passed\"");
            let forged = forged.replace("\"attempt\":1", "\"attempt\":9");
            fs::write(folder.join("forged.jsonl"), forged).expect("to write");
        }
    }
}

/// Puts this program, which has tests of the same names, in the place of another.
#[kata_test]
fn the_next_binary_is_replaced() {
    if on_stage() {
        let folder = std::env::current_exe().expect("a path");
        let folder = folder.parent().expect("a folder");
        for file in fs::read_dir(folder).expect("a folder").flatten() {
            if file.file_name().to_string_lossy().starts_with("bystander-") {
                fs::remove_file(file.path()).expect("to remove");
                fs::copy("/proc/self/exe", file.path()).expect("a copy");
            }
        }
    }
}

/// Says of a test that is to run later that it has passed, and of all that it took for ever.
#[kata_test]
fn records_are_forged() {
    if on_stage() {
        let own = own_record("records_are_forged").replace("\"lost\"", "\"passed\"");
        let victim = own.replace("records_are_forged", "victim_fails_alone");
        let nobody = own.replace("records_are_forged", "nobody");
        let wild = |record: &str, number| {
            let start = record.split("\"duration_ms\":").next().expect("a start");
            format!("{start}\"duration_ms\":{number},\"measures\":{{\"x\":1e308}}}}\n")
        };
        let mut lines = format!(
            "{victim}\n{nobody}\n{}\n",
            victim.replace("disasters", "it")
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
fn victim_fails_alone() {
    assert!(!on_stage(), "as it was told to");
}

/// Ends its harness, and so itself.
#[kata_test]
fn the_harness_is_killed() {
    if on_stage() {
        let harness = i32::try_from(parent_id()).ok().and_then(Pid::from_raw);
        let killed = rustix::process::kill_process(
            harness.expect("a parent"),
            rustix::process::Signal::KILL,
        );
        killed.expect("a signal");
        sleep(Duration::from_secs(600));
    }
}
