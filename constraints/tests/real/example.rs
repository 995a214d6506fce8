//! The package that newcomers copy: it builds, and shows what it says it shows.

use std::path::Path;
use std::process::Command;

use crate::run::{Finished, clean, is_root};

#[test]
fn the_example_package_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/newcomer");
    let records = tempfile::tempdir().expect("a folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["test", "--locked", "--no-fail-fast"])
        .current_dir(&folder);
    clean(&mut command);
    command
        .env(
            "CARGO_TARGET_DIR",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/newcomer"),
        )
        .env("KATA_TEST_RECORD_DIR", records.path())
        .env_remove("NEWCOMER_DISK");
    let out = Finished::by(command);
    assert_eq!(out.code, Some(0), "{out:?}");
    for test in [
        "tests::a_line_is_read",
        "tests::this_machine_has_memory",
        "has_the_disk_for_itself",
        "of_several_cases::case_1",
        "of_several_cases::case_2",
        "waits",
    ] {
        assert!(out.line(test).ends_with("... ok"), "{}", out.stdout);
    }
    let half_way = out.line("stops_half_way");
    assert!(
        half_way.contains("ignored, NEWCOMER_DISK names no disk"),
        "{half_way}"
    );
    let memory = out.line("fills_the_memory");
    assert!(
        memory.contains("ignored, needs when has_much_memory: there are "),
        "{memory}"
    );
    let as_root = out.line("gives_a_file_away").ends_with("... ok");
    assert_eq!(as_root, is_root());
}
