//! A snapshot of kata-test's public API, read from its documentation: a change of it shows in the diff
//! of a commit, where a reviewer decides whether the version allows it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cargo_kata_test::cli::cargo;

/// Where a page ends for us: what follows is generated for every type.
const GENERATED: [&str; 2] = [
    "id=\"synthetic-implementations\"",
    "id=\"blanket-implementations\"",
];

#[test]
fn the_public_api_of_kata_test_is_as_recorded() -> Result<()> {
    let args = [
        "doc",
        "--package=kata-test",
        "--all-features",
        "--no-deps",
        "--quiet",
    ];
    let status = cargo::cargo().args(args).status()?;
    ensure!(status.success(), "cargo doc ended with {status}");
    let documentation = cargo::target_directory()?.join("doc/kata_test");
    insta::assert_snapshot!("kata_test", declarations(&documentation)?.join("\n"));
    Ok(())
}

/// Returns the declarations of all public items and their methods, sorted by item.
fn declarations(documentation: &Path) -> Result<Vec<String>> {
    let read = |page: &str| {
        let path = documentation.join(page);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let all = read("all.html")?;
    let links = all.split("<li><a href=\"").skip(1);
    let pages: BTreeSet<&str> = links
        .filter_map(|rest| rest.split('"').next())
        .filter(|page| page.ends_with(".html"))
        .collect();
    let mut lines = Vec::new();
    for page in pages {
        let text = read(page)?;
        let end = GENERATED.iter().filter_map(|mark| text.find(mark)).min();
        let text = &text[..end.unwrap_or(text.len())];
        lines.push(format!("# {}", page.trim_end_matches(".html")));
        lines.extend(elements(text, "<pre class=\"rust item-decl\">", "</pre>"));
        for tag in ["h3", "h4"] {
            let (start, end) = (
                format!("<{tag} class=\"code-header\">"),
                format!("</{tag}>"),
            );
            lines.extend(elements(text, &start, &end));
        }
    }
    Ok(lines)
}

/// Returns the text of all elements between two marks, each in one line.
fn elements(html: &str, start: &str, end: &str) -> Vec<String> {
    let inner = html.split(start).skip(1);
    inner
        .filter_map(|rest| rest.split(end).next())
        .map(plain)
        .collect()
}

fn plain(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<') {
        text += part.split_once('>').map_or(part, |(_, text)| text);
    }
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&#39;", "'"),
        ("&quot;", "\""),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ];
    for (entity, character) in entities {
        text = text.replace(entity, character);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn declarations_are_read_without_tags() {
    let html = "<h4 class=\"code-header\">pub fn <a href=\"#a\">f</a>&lt;T&gt;(\n    self)</h4>";
    let found = elements(html, "<h4 class=\"code-header\">", "</h4>");
    assert_eq!(found, ["pub fn f<T>( self)"]);
}
