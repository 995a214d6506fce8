//! The targets of a package that have no harness of Rust's, from its manifest.

use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::RunnerError;

/// A target with `harness = false`.
pub(super) struct Target {
    /// As cargo's option names it: `test it`.
    pub(super) name: String,
    pub(super) root: PathBuf,
}

pub(super) fn without_harness(manifest: &Path) -> Result<Vec<Target>, RunnerError> {
    let text = fs::read_to_string(manifest).map_err(RunnerError::io("read", manifest))?;
    let table: Table = text
        .parse()
        .map_err(|source: toml::de::Error| RunnerError::Manifest {
            path: manifest.to_owned(),
            source: source.into(),
        })?;
    let package = manifest.parent().unwrap_or(Path::new(""));
    let mut targets = Vec::new();
    if let Some(lib) = table.get("lib").and_then(Value::as_table)
        && has_no_harness(lib)
    {
        let path = text_of(lib, "path").unwrap_or("src/lib.rs");
        targets.push(Target {
            name: "lib".to_owned(),
            root: package.join(path),
        });
    }
    // A benchmark's main is called by `cargo test` too, and drops tests as well.
    for (kind, folder) in [
        ("test", "tests"),
        ("bin", "src/bin"),
        ("bench", "benches"),
        ("example", "examples"),
    ] {
        let listed = table
            .get(kind)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        for target in listed
            .filter_map(Value::as_table)
            .filter(|target| has_no_harness(target))
        {
            let Some(name) = text_of(target, "name") else {
                continue;
            };
            let root = match text_of(target, "path") {
                Some(path) => package.join(path),
                None => discovered(&package.join(folder), name),
            };
            let name = format!("{kind} {name}");
            targets.push(Target { name, root });
        }
    }
    Ok(targets)
}

fn has_no_harness(target: &Table) -> bool {
    target.get("harness").and_then(Value::as_bool) == Some(false)
}

fn text_of<'a>(target: &'a Table, key: &str) -> Option<&'a str> {
    target.get(key).and_then(Value::as_str)
}

/// Where cargo finds a target whose path is not stated.
fn discovered(folder: &Path, name: &str) -> PathBuf {
    let file = folder.join(format!("{name}.rs"));
    if file.is_file() {
        return file;
    }
    folder.join(name).join("main.rs")
}
