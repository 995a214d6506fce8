//! Kata's configuration file, and the annotations that override it: lines `NAME=VALUE` after `---`.

#![no_main]

#[allow(dead_code, unused_imports, reason = "a VM uses the rest")]
#[path = "../../../iothread-it/vm/src/config/mod.rs"]
mod config;

use config::{Aio, ConfigError, CpuList, read_annotated};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (toml, annotations) = text.split_once("\n---\n").unwrap_or((text, ""));
    let pairs = annotations.lines().filter_map(|line| line.split_once('='));
    let annotations = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    match read_annotated(toml, &annotations) {
        Ok(config) => {
            assert!(config.vcpus >= 1 && config.memory_mib >= 1, "{config:?}");
            assert!(
                config.aio != Aio::Native || config.cache_direct,
                "{config:?}"
            );
        }
        Err(ConfigError::Wrong(problems)) => {
            assert!(!problems.is_empty());
            let lines = toml.lines().count();
            assert!(
                problems
                    .iter()
                    .all(|problem| problem.line.is_none_or(|line| line <= lines))
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    for line in text.lines() {
        if let Ok(list) = line.parse::<CpuList>() {
            assert_eq!(list.to_string().parse::<CpuList>().expect("a list"), list);
        }
    }
});
