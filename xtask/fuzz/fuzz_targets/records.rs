//! Records, as the runner reads them.

#![no_main]

#[allow(dead_code, unused_imports, reason = "kata-test writes JSON too")]
#[path = "../../../constraints/src/json/mod.rs"]
mod json;

use kata_test_runner::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    let Ok(record) = serde_json::from_str::<Record>(line) else {
        return;
    };
    let written = serde_json::to_string(&record).expect("a record");
    let mut read: Record = serde_json::from_str(&written).expect("a record");
    // serde_json reads the last digit of a number only nearly right.
    read.duration_ms = record.duration_ms;
    assert_eq!(read.measures.len(), record.measures.len());
    read.measures.clone_from(&record.measures);
    assert_eq!(read, record);
    assert!(json::Json::read_all(&written).is_ok(), "{written}");
});
