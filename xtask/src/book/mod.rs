//! `cargo xtask book`: builds the book of the documents with mdBook.
//!
//! `constraints/docs/SUMMARY.md` names the pages, which are files anywhere in the repository, with links that work
//! there. They are copied beside each other, with links that work in the book.

mod links;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo;

/// Where the pages are listed, and where links of that list begin.
const DOCS: &str = "constraints/docs";
const DOCS_PREFIX: &str = "constraints/docs/";

/// Runs the command.
pub(crate) fn run() -> Result<ExitCode> {
    let root = root()?;
    let staged = cargo::target_directory()?.join("book-source");
    stage(&root, &staged)?;
    let built = Command::new("mdbook").arg("build").arg(&staged).status();
    let status = built.context(
        "mdbook, which makes the book, cannot be started; `cargo install --locked mdbook` installs it",
    )?;
    ensure!(status.success(), "mdbook ended with {status}");
    println!("book: {}", staged.join("book/index.html").display());
    Ok(ExitCode::SUCCESS)
}

/// The repository's folder.
pub(crate) fn root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    Ok(root.context("xtask is in the repository")?.to_owned())
}

/// Writes the source of the book to a folder.
fn stage(root: &Path, staged: &Path) -> Result<()> {
    let summary = fs::read_to_string(root.join(DOCS).join("SUMMARY.md"))?;
    let pages = pages(root, &summary)?;
    if staged.exists() {
        fs::remove_dir_all(staged)?;
    }
    fs::create_dir_all(staged.join("src"))?;
    for file in ["book.toml", "book.css"] {
        fs::copy(root.join(DOCS).join(file), staged.join(file))?;
    }
    let write = |name: &str, from: &str, text: &str| -> Result<()> {
        let text = links::replace(text, |target| in_book(root, &pages, from, target))?;
        Ok(fs::write(staged.join("src").join(name), text)?)
    };
    write("SUMMARY.md", DOCS, &summary)?;
    for (page, name) in &pages {
        let text = fs::read_to_string(root.join(page))?;
        write(name, folder_of(page), &text).with_context(|| page.clone())?;
        let targets = links::targets(&text).filter(|target| is_relative(target));
        for file in targets.filter_map(|target| target.split('#').next()) {
            let file = resolve(root, folder_of(page), file)?;
            if let Some(beside) = beside_pages(&file).filter(|_| !pages.contains_key(&file)) {
                let to = staged.join("src").join(beside);
                fs::create_dir_all(to.parent().context("a file has a folder")?)?;
                fs::copy(root.join(&file), to)?;
            }
        }
    }
    Ok(())
}

/// The pages by their paths in the repository, with their names in the book.
fn pages(root: &Path, summary: &str) -> Result<BTreeMap<String, String>> {
    let mut pages = BTreeMap::new();
    for target in links::targets(summary) {
        let page = resolve(root, DOCS, target)?;
        let name = match page.strip_prefix(DOCS_PREFIX) {
            Some(name) => name.to_owned(),
            None => page.replace('/', "-"),
        };
        // mdBook takes a page of that name for the index of its folder.
        let name = name.replace("README.md", "readme.md");
        ensure!(
            pages.insert(page, name).is_none(),
            "{target} stands in SUMMARY.md twice"
        );
    }
    Ok(pages)
}

/// A link of a page in this folder as it is in the book, or `None` if it leads to what the book does not have.
fn in_book(
    root: &Path,
    pages: &BTreeMap<String, String>,
    folder: &str,
    target: &str,
) -> Result<Option<String>> {
    if !is_relative(target) {
        return Ok(Some(target.to_owned()));
    }
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, format!("#{anchor}")),
        None => (target, String::new()),
    };
    let page = resolve(root, folder, path)?;
    let name = match pages.get(&page) {
        Some(name) => Some(name.as_str()),
        None => beside_pages(&page),
    };
    Ok(name.map(|name| format!("{name}{anchor}")))
}

/// The name in the book of a file beside the pages, which is copied. The summary is on each page.
fn beside_pages(file: &str) -> Option<&str> {
    let name = file.strip_prefix(DOCS_PREFIX)?;
    (name != "SUMMARY.md").then_some(name)
}

/// Whether a link leads to another file of the repository.
fn is_relative(target: &str) -> bool {
    !target.contains("://") && !target.starts_with('#')
}

/// The path in the repository that a relative link leads to.
fn resolve(root: &Path, folder: &str, target: &str) -> Result<String> {
    let mut path = PathBuf::new();
    for part in Path::new(folder).join(target).components() {
        match part {
            Component::ParentDir if path.pop() => {}
            Component::Normal(part) => path.push(part),
            _ => bail!("{target} in {folder} leads out of the repository"),
        }
    }
    ensure!(
        root.join(&path).exists(),
        "{target} in {folder} leads to {}, which does not exist",
        path.display()
    );
    Ok(path.to_string_lossy().into_owned())
}

fn folder_of(page: &str) -> &str {
    page.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    //! **Scope**: the documents of this repository: links, and commands that are shown.

    use clap::Parser as _;

    use super::*;

    /// All documents, by their paths.
    fn documents() -> Vec<(String, String)> {
        let root = root().unwrap();
        let (mut folders, mut documents) = (vec![root.clone()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if path.is_dir() && !path.is_symlink() && name != "target" && name != ".git" {
                    folders.push(path);
                } else if name.ends_with(".md") {
                    let page = path
                        .strip_prefix(&root)
                        .unwrap()
                        .to_string_lossy()
                        .into_owned();
                    documents.push((page, fs::read_to_string(&path).unwrap()));
                }
            }
        }
        documents
    }

    #[test]
    fn links_lead_to_files_and_headings_that_exist() {
        let root = root().unwrap();
        let documents = documents();
        assert!(documents.len() > 20);
        let mut wrong = Vec::new();
        for (page, text) in &documents {
            for target in links::targets(text).filter(|target| !target.contains("://")) {
                let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
                let found = match path {
                    "" => Ok(page.clone()),
                    path => resolve(&root, folder_of(page), path),
                };
                let heading = |found: &String| {
                    let (_, text) = documents.iter().find(|(name, _)| name == found)?;
                    links::anchors(text).find(|known| known == anchor)
                };
                match found {
                    Err(error) => wrong.push(format!("{page}: {error}")),
                    Ok(found) if !anchor.is_empty() && heading(&found).is_none() => {
                        wrong.push(format!("{page}: {found} has no heading for #{anchor}"));
                    }
                    Ok(_) => {}
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn the_book_has_every_page_of_the_documents() {
        let folder = tempfile::tempdir().unwrap();
        let root = root().unwrap();
        let staged = folder.path().join("staged");
        stage(&root, &staged).unwrap();
        for entry in fs::read_dir(root.join(DOCS)).unwrap() {
            let name = entry.unwrap().file_name();
            if Path::new(&name)
                .extension()
                .is_some_and(|kind| kind == "md")
            {
                assert!(staged.join("src").join(&name).exists(), "{name:?}");
            }
        }
        let mut links = 0;
        for entry in fs::read_dir(staged.join("src")).unwrap() {
            let path = entry.unwrap().path();
            let text = match path.is_file() {
                true => fs::read_to_string(&path).unwrap(),
                false => continue,
            };
            for target in links::targets(&text).filter(|target| is_relative(target)) {
                let file = target.split('#').next().unwrap();
                let found = staged.join("src").join(file).is_file();
                assert!(found, "{}: {target}", path.display());
                links += 1;
            }
        }
        assert!(links > 50, "only {links} links");
    }

    /// The options of commands that stand behind a `$`, and in the text of pages.
    #[test]
    fn commands_in_documents_have_valid_options() {
        let mut seen = 0;
        for (page, text) in documents() {
            let lines = text
                .lines()
                .filter_map(|line| line.trim_start().strip_prefix("$ "));
            let ours = lines.filter_map(|line| {
                let line = line.strip_prefix("cargo ")?;
                let line = line
                    .strip_prefix("kata-test ")
                    .or(line.strip_prefix("xtask "))?;
                // A comment, or what the shell does with it.
                line.split(" #").next()?.split(['|', '>', ';']).next()
            });
            for line in ours {
                let line = line.replace("PID", "1");
                let words = links::words(&line);
                let command =
                    std::iter::once("cargo xtask").chain(words.iter().map(String::as_str));
                if let Err(error) = crate::Cli::try_parse_from(command) {
                    let is_help = !error.use_stderr();
                    assert!(is_help, "{page}: {line}: {error}");
                }
                seen += 1;
            }
        }
        assert!(seen > 40, "only {seen} commands");
    }

    /// `ci` runs `it` on one machine type, and all tests; the tests of iothread-advise run `who` and `advise`.
    #[test]
    fn the_readme_shows_four_commands_of_this_repository() {
        use crate::{Cli, Command, cli};

        let readme = fs::read_to_string(root().unwrap().join("README.md")).unwrap();
        let lines = readme
            .lines()
            .filter_map(|line| line.strip_prefix("$ cargo xtask "));
        let parse = |line: &str| {
            let line = line.split(" #").next().unwrap().replace("PID", "1");
            Cli::try_parse_from([&["cargo xtask".to_owned()], &*links::words(&line)].concat())
        };
        let commands: Vec<Command> = lines.map(|line| parse(line).unwrap().command).collect();
        let [
            Command::It(_),
            Command::Kata(test),
            Command::Who(_),
            Command::Advise(_),
        ] = &*commands
        else {
            panic!("other commands");
        };
        assert!(matches!(**test, cli::Command::Test(_)));
    }
}
