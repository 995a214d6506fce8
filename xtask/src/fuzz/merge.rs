//! Replaces a kept corpus by the smallest set of inputs with the same coverage.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use guest_vm::process::BoundedCommand;

use super::build::Package;
use super::libfuzzer::with_one_output;

/// How long a merge may take.
const LIMIT: Duration = Duration::from_secs(600);

/// Longer inputs are not kept.
const LONGEST_INPUT: u64 = 8 << 10;

/// Merges the kept corpus and what was found into a new one.
pub(super) fn replace_corpus(package: &Package, target: &str) -> Result<()> {
    let kept = package.corpus(target);
    let found = package.output_folder("corpus", target)?;
    let merged = package.output_folder("merged", target)?;
    fs::remove_dir_all(&merged)?;
    fs::create_dir_all(&merged)?;
    let mut command = with_one_output(&package.executable(target));
    let longest = format!("-max_len={LONGEST_INPUT}");
    // How often an edge is reached does not count: that would keep three times as many inputs.
    command.args(["-set_cover_merge=1", "-use_counters=0", &longest]);
    command.args([&merged, &kept, &found]);
    let bounded = BoundedCommand {
        what: "the merge of corpora",
        command,
        deadline: LIMIT,
        input: b"",
    };
    let output = bounded.finish(|_| ())?;
    ensure!(
        output.status.success(),
        "the merge for {target} failed: {}",
        output.stdout.join("\n")
    );
    let (before, after) = (size(&kept)?, size(&merged)?);
    ensure!(after.0 > 0, "the merge for {target} kept nothing");
    let remove =
        |folder: &Path| fs::remove_dir_all(folder).with_context(|| folder.display().to_string());
    remove(&kept)?;
    copy(&merged, &kept)?;
    remove(&merged)?;
    println!(
        "{target}: {} inputs of {} bytes, before {} of {}",
        after.0, after.1, before.0, before.1
    );
    Ok(())
}

/// Copies: the folders can be on different file systems.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if let Some(name) = path.file_name() {
            fs::copy(&path, to.join(name)).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// Returns the number of files and of their bytes.
fn size(folder: &Path) -> Result<(usize, u64)> {
    let mut found = (0, 0);
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        found.0 += 1;
        found.1 += entry?.metadata()?.len();
    }
    Ok(found)
}
