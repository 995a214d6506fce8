//! The structure of this workspace, checked: no modules that use each other in a circle, and no long
//! files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use cargo_kata_test::cli::cargo;

/// The most lines of a file of source code.
const LONGEST: usize = 500;

/// The modules at the root of a package, each with those that it names in `crate::` paths.
type Uses = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_circle_of_modules_and_no_long_file() -> Result<()> {
    let mut problems = Vec::new();
    for manifest in cargo::manifests()? {
        let source = manifest.with_file_name("src");
        if !source.is_dir() {
            continue;
        }
        let files = files_below(&source)?;
        for (path, text) in &files {
            let lines = text.lines().count();
            if lines > LONGEST {
                problems.push(format!(
                    "{} has {lines} lines; split it, at most {LONGEST} are allowed",
                    path.display()
                ));
            }
        }
        for circle in circles(&uses(&source, &files)) {
            problems.push(format!(
                "{}: modules that use each other: {}",
                source.display(),
                circle.join(" → ")
            ));
        }
    }
    ensure!(problems.is_empty(), "\n{}", problems.join("\n"));
    Ok(())
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

/// Which module at the root of a package uses which. Tests are left out: they may look anywhere.
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

/// The module at the root of the package that a file belongs to. `None`: to none, or to tests.
fn module(source: &Path, file: &Path) -> Option<String> {
    let below = file.strip_prefix(source).ok()?;
    let is_test = below
        .components()
        .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")));
    let first = Path::new(below.components().next()?.as_os_str()).with_extension("");
    let name = first.to_str()?.to_owned();
    (!is_test && !matches!(&*name, "lib" | "main")).then_some(name)
}

/// What follows `crate::` outside of comments and of the unit tests at the end of a file.
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

/// One circle through each module that is in one.
fn circles(uses: &Uses) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut done = BTreeSet::new();
    for start in uses.keys() {
        if done.contains(start) {
            continue;
        }
        if let Some(circle) = path_back(uses, start) {
            done.extend(circle.iter().cloned());
            found.push(circle);
        }
    }
    found
}

/// A shortest path from a module to itself.
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

fn circles_in(files: &[(PathBuf, String)]) -> Vec<Vec<String>> {
    circles(&uses(Path::new("src"), files))
}

#[test]
fn a_circle_of_three_is_found_once() {
    let files = [
        file("lib.rs", "mod a;\nmod b;\nmod c;\nuse crate::a::A;"),
        file("a/mod.rs", "use crate::b::B;"),
        file("a/deep.rs", "pub(in crate::a) fn f() {}"),
        file("b.rs", "fn f() { crate::c::g() }"),
        file("c.rs", "use crate::{x, y};\nuse crate::a;"),
    ];
    assert_eq!(circles_in(&files), [["a", "b", "c", "a"]]);
}

#[test]
fn tests_and_comments_make_no_circle() {
    let files = [
        file("a.rs", "use crate::b;\n"),
        file(
            "b.rs",
            "//! See [`crate::a`].\n#[cfg(test)]\nmod tests {\n    use crate::a;\n}",
        ),
        file("b/tests.rs", "use crate::a;"),
    ];
    assert_eq!(circles_in(&files), Vec::<Vec<String>>::new());
}
