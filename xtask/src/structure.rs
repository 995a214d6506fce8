//! Checks of the source tree: no dependency cycles between modules, no long files, no syntax that is
//! newer than a package's `rust-version`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use cargo_kata_test::cli::cargo;

/// The most lines of a source file.
const LONGEST: usize = 500;

/// The median of all source files stays below this number of lines.
const MEDIAN: usize = 150;

/// The root modules of a package, each with the modules that its `crate::` paths name.
type Uses = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_module_cycles_and_no_long_files() -> Result<()> {
    let mut problems = Vec::new();
    let mut lengths = Vec::new();
    for manifest in cargo::manifests()? {
        let source = manifest.with_file_name("src");
        if !source.is_dir() {
            continue;
        }
        let files = files_below(&source)?;
        for (path, text) in &files {
            let lines = text.lines().count();
            lengths.push(lines);
            if lines > LONGEST {
                problems.push(format!(
                    "{} has {lines} lines; split it, at most {LONGEST} are allowed",
                    path.display()
                ));
            }
        }
        for cycle in cycles(&uses(&source, &files)) {
            problems.push(format!(
                "{}: cycle of modules: {}",
                source.display(),
                cycle.join(" → ")
            ));
        }
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    println!("{} files, median {median} lines", lengths.len());
    if median >= MEDIAN {
        problems.push(format!(
            "the median of source files is {median} lines, not below {MEDIAN}"
        ));
    }
    ensure!(problems.is_empty(), "\n{}", problems.join("\n"));
    Ok(())
}

/// Clippy's `incompatible_msrv` finds library calls that are too new, but no lint finds syntax: let
/// chains need Rust 1.88, and `if let` guards Rust 1.95.
#[test]
fn packages_for_old_compilers_use_no_let_chains() -> Result<()> {
    let mut checked = 0;
    let mut problems = Vec::new();
    for manifest in cargo::manifests()? {
        let text = fs::read_to_string(&manifest)?;
        if text.contains("rust-version.workspace = true") {
            continue;
        }
        checked += 1;
        for (path, text) in files_below(&manifest.with_file_name("src"))? {
            for (index, line) in text.lines().enumerate() {
                if has_let_chain(line) {
                    problems.push(format!("{}:{}: {line}", path.display(), index + 1));
                }
            }
        }
    }
    ensure!(
        checked >= 4,
        "only {checked} packages state a `rust-version`"
    );
    ensure!(problems.is_empty(), "\n{}", problems.join("\n"));
    Ok(())
}

fn has_let_chain(line: &str) -> bool {
    let line = line.trim_start();
    let is_chain = line.starts_with("&& let ") || line.contains(" && let ");
    let is_guard =
        line.contains(") if let ") || line.starts_with("if let ") && line.contains(" => ");
    !line.starts_with("//") && (is_chain || is_guard)
}

#[test]
fn let_chains_and_guards_are_found() {
    for line in [
        "    && let Some(x) = y",
        "if a && let Some(x) = y {",
        "Some(_) if let Some(x) = y => {",
    ] {
        assert!(has_let_chain(line), "{line}");
    }
    for line in ["if let Some(x) = y {", "// a && let b", "let a = b && c;"] {
        assert!(!has_let_chain(line), "{line}");
    }
}

fn files_below(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                files.push((path, text));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Returns which root module uses which. Tests are exempt.
fn uses(source: &Path, files: &[(PathBuf, String)]) -> Uses {
    let mut uses = Uses::new();
    let modules = || files.iter().filter_map(|(path, _)| module(source, path));
    for module in modules() {
        uses.entry(module).or_default();
    }
    for (path, text) in files {
        let Some(user) = module(source, path) else {
            continue;
        };
        let named = named_modules(text);
        let known = named.filter(|used| uses.contains_key(*used) && **used != *user);
        let known: Vec<String> = known.map(str::to_owned).collect();
        uses.entry(user).or_default().extend(known);
    }
    uses
}

/// Returns the root module that a file belongs to; `None` for tests, `lib.rs` and `main.rs`.
fn module(source: &Path, file: &Path) -> Option<String> {
    let below = file.strip_prefix(source).ok()?;
    let is_test = below
        .components()
        .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")));
    let first = Path::new(below.components().next()?.as_os_str()).with_extension("");
    let name = first.to_str()?.to_owned();
    (!is_test && !matches!(&*name, "lib" | "main")).then_some(name)
}

/// Returns the names after `crate::` outside of comments and unit tests.
fn named_modules(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            &rest[..end.unwrap_or(rest.len())]
        })
}

/// Returns one cycle for each module that is part of any.
fn cycles(uses: &Uses) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut done = BTreeSet::new();
    for start in uses.keys() {
        if done.contains(start) {
            continue;
        }
        if let Some(cycle) = path_back(uses, start) {
            done.extend(cycle.iter().cloned());
            found.push(cycle);
        }
    }
    found
}

/// Returns a shortest path from a module to itself.
fn path_back(uses: &Uses, start: &str) -> Option<Vec<String>> {
    let mut paths = std::collections::VecDeque::from([vec![start.to_owned()]]);
    let mut seen = BTreeSet::new();
    while let Some(path) = paths.pop_front() {
        for next in uses.get(path.last()?)? {
            let mut longer = path.clone();
            longer.push(next.clone());
            if next == start {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                paths.push_back(longer);
            }
        }
    }
    None
}

fn file(path: &str, text: &str) -> (PathBuf, String) {
    (Path::new("src").join(path), text.to_owned())
}

fn cycles_in(files: &[(PathBuf, String)]) -> Vec<Vec<String>> {
    cycles(&uses(Path::new("src"), files))
}

#[test]
fn a_cycle_of_three_modules_is_reported_once() {
    let files = [
        file("lib.rs", "mod a;\nmod b;\nmod c;\nuse crate::a::A;"),
        file("a/mod.rs", "use crate::b::B;"),
        file("a/deep.rs", "pub(in crate::a) fn f() {}"),
        file("b.rs", "fn f() { crate::c::g() }"),
        file("c.rs", "use crate::{x, y};\nuse crate::a;"),
    ];
    assert_eq!(cycles_in(&files), [["a", "b", "c", "a"]]);
}

#[test]
fn tests_and_comments_are_exempt_from_cycles() {
    let files = [
        file("a.rs", "use crate::b;\n"),
        file(
            "b.rs",
            "//! See [`crate::a`].\n#[cfg(test)]\nmod tests {\n    use crate::a;\n}",
        ),
        file("b/tests.rs", "use crate::a;"),
    ];
    assert_eq!(cycles_in(&files), Vec::<Vec<String>>::new());
}
