//! kata-test's own reader of JSON, compared with serde_json.

#![no_main]

#[allow(dead_code, unused_imports, reason = "kata-test writes JSON too")]
#[path = "../../../constraints/src/json/mod.rs"]
mod json;

use json::Json;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// How deep kata-test reads.
const DEEPEST: usize = 32;

fuzz_target!(|text: &str| {
    let ours = match Json::read_all(text) {
        Ok(values) => (values.len() == 1).then(|| values[0].clone()),
        Err(at) => {
            assert!(at <= text.len(), "{at}");
            None
        }
    };
    match (ours, serde_json::from_str::<Value>(text)) {
        (Some(ours), Ok(theirs)) => same(&ours, &theirs),
        (Some(ours), Err(error)) => panic!("serde_json refuses {ours:?}: {error}"),
        (None, Ok(theirs)) => assert!(depth(&theirs) > DEEPEST, "we refuse {theirs}"),
        (None, Err(_)) => {}
    }
});

fn same(ours: &Json, theirs: &Value) {
    match (ours, theirs) {
        (Json::Text(ours), Value::String(theirs)) => assert_eq!(ours, theirs),
        (Json::List(ours), Value::Array(theirs)) => {
            assert_eq!(ours.len(), theirs.len());
            ours.iter()
                .zip(theirs)
                .for_each(|(ours, theirs)| same(ours, theirs));
        }
        (Json::Object(ours), Value::Object(theirs)) => {
            for (key, theirs) in theirs {
                let with_key: Vec<_> = ours.iter().filter(|(known, _)| known == key).collect();
                // Of values with the same key serde_json keeps the last.
                same(&with_key.last().expect("the key").1, theirs);
            }
            assert!(ours.iter().all(|(key, _)| theirs.contains_key(key)));
        }
        (Json::Other, Value::Null | Value::Bool(_) | Value::Number(_)) => {}
        other => panic!("they differ: {other:?}"),
    }
}

fn depth(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
