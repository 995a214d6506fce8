//! Provides the guest agent: a static program that is built from the sources of its package.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use guest_vm::artifacts::{Store, StoreLock, WorkFolder, write_atomically};
use sha2::{Digest as _, Sha256};

use super::{cargo, store};

/// The target of the guest agent.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A profile for small size: an emulated CPU unpacks the agent with the boot image. Optimization at link time would make
/// it 8 % smaller, and the build, which the first test waits for, two fifths longer.
const PROFILE: [&str; 5] = [
    "profile.agent.inherits=\"release\"",
    "profile.agent.opt-level=\"s\"",
    "profile.agent.lto=\"off\"",
    "profile.agent.panic=\"abort\"",
    "profile.agent.strip=true",
];

/// What cargo prints when it builds the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BuildOutput {
    /// Its progress.
    Progress,
    /// Errors only.
    Errors,
}

/// Returns the path of the agent in the cache. It is built if no agent of the same sources exists, in
/// the target directory, where a developer of the agent has the rest of an earlier build.
///
/// # Errors
/// If the agent cannot be built.
pub(super) fn provide(lock: &StoreLock, target: &Path, output: BuildOutput) -> Result<PathBuf> {
    let agent = path(lock.store())?;
    lock.hold(agent.parent().unwrap_or(&agent))?;
    if !agent.is_file() {
        let sources = Path::new(guest_agent::SOURCES);
        let folder = WorkFolder::in_target(target).path().join("agent");
        let built = build(sources, &folder, lock.store().is_offline(), output)?;
        write_atomically(&agent, &fs::read(&built)?)
            .with_context(|| format!("cannot write {}", agent.display()))?;
    }
    Ok(agent)
}

/// Returns the path that the agent of these sources has in the cache. It may not exist.
///
/// # Errors
/// If the sources cannot be read.
pub(super) fn path(store: &Store) -> Result<PathBuf> {
    let key = key(Path::new(guest_agent::SOURCES))?;
    Ok(store.agents().join(key).join("guest-agent"))
}

/// Returns a hash of the sources, the versions of the dependencies and the settings.
fn key(sources: &Path) -> Result<String> {
    let manifest = sources.join("Cargo.toml");
    ensure!(
        manifest.is_file(),
        "cannot find the sources of the guest agent in {}; reinstall cargo-kata-test",
        sources.display()
    );
    let mut files = vec![manifest];
    // Beside a package from a registry there is none: cargo chooses the dependencies.
    let lock_files = sources.ancestors().map(|folder| folder.join("Cargo.lock"));
    files.extend(lock_files.take(3).find(|file| file.is_file()));
    files_below(&sources.join("src"), &mut files)?;
    files.sort();
    let mut hasher = Sha256::new();
    hasher.update(PROFILE.concat());
    for file in files {
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(sources).unwrap_or(Path::new(""));
        hasher.update(format!("{} {}\n", name.display(), content.len()));
        hasher.update(content);
    }
    Ok(store::hex(&hasher.finalize()[..8]))
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder);
    for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        match path.is_dir() {
            true => files_below(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

fn build(sources: &Path, target: &Path, offline: bool, output: BuildOutput) -> Result<PathBuf> {
    let mut command = cargo::cargo();
    command
        .args(["build", "--bin=guest-agent", "--manifest-path"])
        .arg(sources.join("Cargo.toml"))
        .args(PROFILE.map(|setting| format!("--config={setting}")))
        .args(["--profile=agent", "--target", TARGET])
        // A directory of its own: its flags would make cargo rebuild the workspace.
        .arg("--target-dir")
        .arg(target)
        .args(offline.then_some("--offline"))
        .args((output == BuildOutput::Errors).then_some("--quiet"))
        // The caller's flags may enable a sanitizer or coverage, or replace these.
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    cargo::executable(&mut command).context("cannot build the guest agent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_covers_the_sources_and_the_versions_of_dependencies() {
        let place = tempfile::tempdir().unwrap();
        let sources = place.path().join("workspace/agent");
        let put = |file: &str, text: &str| {
            let path = sources.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("Cargo.toml", "[package]");
        put("src/main.rs", "fn main() {}");
        let mut keys = vec![key(&sources).unwrap()];
        for (file, text) in [
            ("src/main.rs", "fn main() { }"),
            ("src/deep/er.rs", ""),
            ("Cargo.toml", "[package] "),
            ("../Cargo.lock", "version = 4"),
        ] {
            put(file, text);
            let key = key(&sources).unwrap();
            assert!(!keys.contains(&key), "{file} makes no difference");
            keys.push(key);
        }
        // The same sources in another place are the same agent.
        let moved = place.path().join("moved");
        fs::rename(place.path().join("workspace"), &moved).unwrap();
        assert_eq!(keys.last(), Some(&key(&moved.join("agent")).unwrap()));
    }

    #[test]
    fn missing_sources_are_an_error() {
        let error = key(Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(error.contains("reinstall cargo-kata-test"), "{error}");
    }
}
