//! Variables from `[env]` of cargo's configuration, which cargo sets for the programs that it runs.
//!
//! The files are those that [cargo's reference](https://doc.rust-lang.org/cargo/reference/config.html)
//! lists: `.cargo/config.toml` of the current directory and those above it, and of cargo's home. Of several
//! that state a variable, the one in the deepest folder counts. `--config` is not read.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    env: BTreeMap<String, Entry>,
    #[serde(default)]
    target: BTreeMap<String, Target>,
}

/// A table `[target.…]`, which may hold other keys.
#[derive(Deserialize)]
struct Target {
    runner: Option<toml::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Text(String),
    Table {
        value: String,
        #[serde(default)]
        force: bool,
        #[serde(default)]
        relative: bool,
    },
}

/// Returns the variables for programs that cargo would run in this folder. A variable that is set already
/// is left out, unless the configuration forces it. A file that cannot be read has stopped cargo before.
pub(super) fn variables(current: &Path) -> Vec<(OsString, OsString)> {
    let mut found = BTreeMap::new();
    // Later ones replace earlier ones.
    for (path, file) in files(current).into_iter().rev() {
        let folder = path.parent().unwrap_or(&path);
        for (name, entry) in file.env {
            found.insert(name, entry.resolve(folder.parent().unwrap_or(folder)));
        }
    }
    let is_new = |name: &str, force: bool| force || std::env::var_os(name).is_none();
    let kept = found
        .into_iter()
        .filter(|(name, (_, force))| is_new(name, *force));
    kept.map(|(name, (value, _))| (name.into(), value))
        .collect()
}

/// Returns where cargo's configuration for this folder, or a variable, has a `runner` for test binaries: cargo would
/// start them with it, and this runner does not use it.
#[must_use]
pub fn runner(current: &Path) -> Option<String> {
    let of_variable = std::env::vars_os().find_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let is_runner = name.starts_with("CARGO_TARGET_") && name.ends_with("_RUNNER");
        (is_runner && !value.is_empty()).then_some(name)
    });
    let of_file = || {
        files(current).into_iter().find_map(|(path, file)| {
            let mut targets = file.target.into_iter();
            let (name, _) = targets.find(|(_, target)| target.runner.is_some())?;
            Some(format!("[target.{name}] in {}", path.display()))
        })
    };
    of_variable.or_else(of_file)
}

/// Reads the files, the one that counts most first.
fn files(current: &Path) -> Vec<(PathBuf, File)> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")));
    let local = current.ancestors().map(|folder| folder.join(".cargo"));
    let read = |folder: PathBuf| {
        let files = ["config", "config.toml"].map(|name| folder.join(name));
        let mut texts = files
            .into_iter()
            .filter_map(|file| Some((std::fs::read_to_string(&file).ok()?, file)));
        let (text, path) = texts.next()?;
        Some((path, toml::from_str(&text).ok()?))
    };
    local.chain(home).filter_map(read).collect()
}

impl Entry {
    /// Returns the value, and whether it replaces a variable that is set.
    fn resolve(self, base: &Path) -> (OsString, bool) {
        match self {
            Self::Text(value) => (value.into(), false),
            Self::Table {
                value,
                force,
                relative: true,
            } => (base.join(OsStr::new(&value)).into_os_string(), force),
            Self::Table { value, force, .. } => (value.into(), force),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_file_counts_and_variables_that_are_set_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("a/b");
        for (path, text) in [
            (
                folder.path().join(".cargo/config.toml"),
                "[build]\njobs = 1\n[env]\nKT_ONE = \"outer\"\nKT_TWO = { value = \"data\", relative = true }\n\
                 PATH = \"none\"\n",
            ),
            (
                inner.join(".cargo/config.toml"),
                "[env]\nKT_ONE = { value = \"inner\", force = true }\nHOME = { value = \"/h\", force = true }\n",
            ),
        ] {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        let found: BTreeMap<_, _> = variables(&inner).into_iter().collect();
        let value = |name: &str| found.get(OsStr::new(name)).cloned();
        assert_eq!(value("KT_ONE"), Some("inner".into()));
        let data = folder.path().join("data").into_os_string();
        assert_eq!(value("KT_TWO"), Some(data));
        assert_eq!(value("PATH"), None, "it is set");
        assert_eq!(value("HOME"), Some("/h".into()), "it is forced");
    }

    #[test]
    fn a_runner_is_found_with_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".cargo/config.toml");
        std::fs::create_dir(folder.path().join(".cargo")).expect("a folder");
        let text = "[target.x86_64-unknown-none]\nlinker = 'x'\n[target.'cfg(unix)']\nrunner = ['sudo', '-E']\n";
        std::fs::write(&path, text).expect("a file");
        let expected = format!("[target.cfg(unix)] in {}", path.display());
        assert_eq!(runner(folder.path()), Some(expected));
    }
}
