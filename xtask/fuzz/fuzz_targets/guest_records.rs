//! Records that a guest sends: the host keeps bounded ones of the batch's tests alone.

#![no_main]

#[allow(dead_code, reason = "a place uses the rest")]
#[path = "../../../iothread-it/cargo-kata-test/src/place/records.rs"]
mod records;

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::ops::ControlFlow;

use kata_test_runner::{KernelWarnings, Record};
use libfuzzer_sys::fuzz_target;
use records::{RecordFilter, Records};

fuzz_target!(|sent: &[u8]| {
    let memory = rustix::fs::memfd_create("records", rustix::fs::MemfdFlags::CLOEXEC);
    let mut kept = File::from(memory.expect("a file in memory"));
    let filter = RecordFilter {
        run: "run".into(),
        place: "vm:sid".into(),
        binary: "pkg::it".into(),
        tests: ["a", "b"].map(str::to_owned).into(),
        attempts: 2,
    };
    let mut records = Records::new(
        filter,
        kept.try_clone().expect("a file"),
        KernelWarnings::Fail,
    );
    // Each piece is for another file: a byte before it names which.
    for piece in sent.chunks(200) {
        let file = format!("{}.jsonl", piece[0] % 32);
        if let ControlFlow::Break(why) = records.append(&file, piece) {
            assert!(why.len() < 200, "{why}");
            break;
        }
    }
    let mut text = String::new();
    kept.rewind().expect("a file");
    kept.read_to_string(&mut text).expect("a text");
    assert!(text.len() <= sent.len());
    for line in text.lines() {
        let record: Record = serde_json::from_str(line).expect("a record");
        assert!(record.test == "a" || record.test == "b", "{record:?}");
        assert!(records.has_started(&record.test) || records.has_ended(&record.test));
    }
});
