//! A package outside of this workspace: `tests/annotated.rs` has kata-test's harness, other files have their own.

use std::fs;

use anyhow::Result;
use guest_vm::scratch::ScratchDir;

use crate::commands::example;
use crate::folder;

const MANIFEST: &str = r#"
[workspace]

[package]
name = "scratch"
version = "0.1.0"
edition = "2024"

[dev-dependencies]
kata-test = { path = "KATA_TEST" }

[[test]]
name = "annotated"
harness = false

[profile.dev]
debug = false
"#;

/// Creates a package with these files, each a path and a text.
pub(crate) fn scratch_package(files: &[(&str, &str)]) -> Result<ScratchDir> {
    let kata_test = concat!(env!("CARGO_MANIFEST_DIR"), "/../../constraints");
    let manifest = MANIFEST.replace("KATA_TEST", kata_test);
    let folder = folder()?;
    let own = [("Cargo.toml", manifest.as_str()), ("src/lib.rs", "")];
    for (path, text) in own.iter().chain(files) {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder"))?;
        fs::write(path, text)?;
    }
    let lock = "Cargo.lock";
    fs::copy(example().join(lock), folder.path().join(lock))?;
    Ok(folder)
}
