//! `cargo kata-test adopt`: shows tests that return early because of the host.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use crate::adopt::{EarlyReturn, find};

/// A longer source file is not read.
const FILE_LIMIT: u64 = 8 << 20;

/// Options of the command.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "\
Sources are parsed and not compiled: conditions are known by the names in them, so look at each before you replace \
it. No file is changed.

A CI job that accepts no new early return:
  cargo kata-test adopt > early-returns.txt     # once, and commit it
  cargo kata-test adopt --check --known early-returns.txt")]
pub struct Options {
    /// The folders and files that are searched. Default: the workspace.
    paths: Vec<PathBuf>,
    /// Fails with exit code 1 if there is an early return.
    #[arg(long)]
    check: bool,
    /// Leaves out the early returns that are in this file, which an earlier run has printed. Lines may have moved.
    #[arg(long, value_name = "FILE")]
    known: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If there is no workspace, or a file or folder cannot be read.
pub fn run(options: &Options) -> Result<ExitCode> {
    let root = match options.paths.is_empty() {
        true => super::cargo::workspace_root()?,
        false => std::env::current_dir().context("cannot read the current directory")?,
    };
    let mut files = Vec::new();
    let paths = match options.paths.as_slice() {
        [] => std::slice::from_ref(&root),
        paths => paths,
    };
    for path in paths {
        read(path, &root, &mut files)?;
    }
    ensure!(
        !files.is_empty(),
        "there is no Rust source file in {}",
        list(paths)
    );
    let known = match &options.known {
        Some(path) => {
            let text = fs::read_to_string(path);
            keys(&text.with_context(|| format!("cannot read {}", path.display()))?)
        }
        None => BTreeSet::new(),
    };
    let mut found = find(&files, |path, why| {
        eprintln!(
            "warning: {} is left out, because it cannot be parsed: {why}",
            path.display()
        );
    });
    found.retain(|found| !known.contains(&key(found)));
    print!("{}", page(&found, files.len(), !known.is_empty()));
    Ok(ExitCode::from(u8::from(options.check && !found.is_empty())))
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

/// Reads the sources below a path, except for hidden folders and target directories.
fn read(path: &Path, root: &Path, files: &mut Vec<(PathBuf, String)>) -> Result<()> {
    let why = || format!("cannot read {}", path.display());
    if !fs::metadata(path).with_context(why)?.is_dir() {
        return read_file(path, root, files);
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).with_context(why)? {
        entries.push(entry.with_context(why)?);
    }
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type().with_context(why)?);
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // A symbolic link is another name of what is found elsewhere, or of a folder above.
        if kind.is_dir() && !is_hidden && !path.join("CACHEDIR.TAG").exists() {
            read(&path, root, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
            read_file(&path, root, files)?;
        }
    }
    Ok(())
}

fn read_file(path: &Path, root: &Path, files: &mut Vec<(PathBuf, String)>) -> Result<()> {
    let why = || format!("cannot read {}", path.display());
    let length = fs::metadata(path).with_context(why)?.len();
    if length > FILE_LIMIT {
        eprintln!(
            "warning: {} is left out: it is longer than 8 MiB",
            path.display()
        );
        return Ok(());
    }
    let text = String::from_utf8_lossy(&fs::read(path).with_context(why)?).into_owned();
    let name = path.strip_prefix(root).unwrap_or(path).to_owned();
    files.push((name, text));
    Ok(())
}

/// What makes an early return the same one after lines have moved.
fn key(found: &EarlyReturn) -> String {
    format!(
        "{}: {}: {}",
        found.file.display(),
        found.function,
        found.code
    )
}

/// Returns the keys of the early returns that a page shows.
fn keys(page: &str) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| !line.starts_with(' '));
    let keys = lines.filter_map(|line| {
        let (at, rest) = line.split_once(": ")?;
        let (file, line) = at.rsplit_once(':')?;
        line.parse::<usize>().ok()?;
        Some(format!("{file}: {rest}"))
    });
    keys.collect()
}

fn page(found: &[EarlyReturn], searched: usize, has_known: bool) -> String {
    let mut page = String::new();
    for one in found {
        let (file, line) = (one.file.display(), one.line);
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{file}:{line}: {}: {}", one.function, one.code);
        let _ = match &one.attribute {
            Some(attribute) => writeln!(page, "    {attribute}"),
            None => writeln!(
                page,
                "    kata_test::skip!(…) there, or a constraint: see `cargo kata-test facts --help`"
            ),
        };
    }
    let new = if has_known { "new " } else { "" };
    let replaced = found.iter().filter(|one| one.attribute.is_some()).count();
    let files: BTreeSet<&PathBuf> = found.iter().map(|one| &one.file).collect();
    let _ = match found.len() {
        0 => writeln!(
            page,
            "no {new}early return because of the host, in {searched} files"
        ),
        count => writeln!(
            page,
            "{count} {new}early returns in {} of {searched} files; an attribute states the requirement of {replaced}",
            files.len()
        ),
    };
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_return_is_known_after_its_line_has_moved() {
        let mut one = EarlyReturn {
            file: "tests/a.rs".into(),
            line: 7,
            function: "mounts".into(),
            code: "!is_root() || a: b".into(),
            attribute: None,
        };
        let page = page(std::slice::from_ref(&one), 1, false);
        one.line = 70;
        assert!(keys(&page).contains(&key(&one)));
        one.code = "is_root()".into();
        assert!(!keys(&page).contains(&key(&one)));
    }
}
