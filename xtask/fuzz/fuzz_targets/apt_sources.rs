//! apt's sources, in both formats. What is read is written in one of them and read back.

#![no_main]

#[allow(
    dead_code,
    unused_imports,
    reason = "the selection of suites parses nothing"
)]
#[path = "../../../iothread-it/vm/src/artifacts/apt/sources/mod.rs"]
mod sources;

use libfuzzer_sys::fuzz_target;
use sources::{Source, parse_deb822, parse_one_line, render};

fuzz_target!(|text: &str| {
    check(&parse_deb822(text));
    check(&parse_one_line(text));
});

fn check(read: &[Source]) {
    for source in read {
        assert!(!source.uris.is_empty() && !source.suites.is_empty());
        assert!(!source.uris.iter().any(|uri| uri.starts_with("cdrom:")));
    }
    assert_eq!(parse_deb822(&render(read)), read);
}
