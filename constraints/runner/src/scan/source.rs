//! One source file as tokens: its tests, also inside of macros, and the files of its modules.

use std::iter::Peekable;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree, token_stream};

use crate::RunnerError;

/// Last segments of attributes that expand to a plain `#[test]`.
const TESTS: [&str; 6] = [
    "test",
    "rstest",
    "test_case",
    "quickcheck",
    "proptest",
    "bench",
];

/// What was found in a file.
#[derive(Default)]
pub(super) struct Source {
    /// Tests that are not ours.
    pub(super) found: Vec<Found>,
    /// Where modules may lie whose text is not in this file.
    pub(super) modules: Vec<Module>,
    /// `#[macro_use(test)] extern crate kata_test;` stands in it.
    pub(super) takes_over: bool,
}

/// The file of a module.
pub(super) struct Module {
    pub(super) file: PathBuf,
    /// Whether `test` is kata-test's in the module that declares it.
    pub(super) outer_is_ours: bool,
}

pub(super) struct Found {
    pub(super) line: usize,
    pub(super) attribute: String,
    pub(super) test: Option<String>,
}

/// An attribute: its path, its line, and what stands behind the path.
pub(super) struct Attribute {
    pub(super) path: String,
    line: usize,
    rest: String,
}

impl Attribute {
    /// Returns whether this is kata-test's, also if that is known by another name.
    pub(super) fn is_ours(&self) -> bool {
        let krate = self.path.trim_start_matches("::").split("::").next();
        let renamed = krate.map(|krate| format!("crate={krate}"));
        self.path.rsplit("::").next() == Some("kata_test")
            || self.path.trim_start_matches("::") == "kata_test::test"
            || renamed.is_some_and(|renamed| self.rest.replace(' ', "").contains(&renamed))
    }
}

impl Source {
    pub(super) fn read(module: &Module, text: &str, is_root: bool) -> Result<Self, RunnerError> {
        let file = module.file.as_path();
        let tokens = tokens(file, text)?;
        let parent = file.parent().unwrap_or(Path::new(""));
        let stem = file.file_stem().unwrap_or_default();
        // The modules of `a.rs` lie in `a/`, those of a root or of a `mod.rs` beside it.
        let folder = if is_root || stem == "mod" {
            parent.to_owned()
        } else {
            parent.join(stem)
        };
        let mut source = Self::default();
        source.module_items(tokens, module.outer_is_ours, &folder, parent);
        Ok(source)
    }

    fn module_items(
        &mut self,
        tokens: TokenStream,
        outer_is_ours: bool,
        folder: &Path,
        beside: &Path,
    ) {
        let is_ours = imports(&tokens, &["kata_test", "test"])
            || outer_is_ours && imports(&tokens, &["super", "test"]);
        self.walk(tokens, is_ours, folder, beside);
    }

    /// Goes through items. `is_ours`: `test` is kata-test's here.
    fn walk(&mut self, tokens: TokenStream, is_ours: bool, folder: &Path, beside: &Path) {
        let mut tokens = tokens.into_iter().peekable();
        let mut attributes: Vec<Attribute> = Vec::new();
        while let Some(token) = tokens.next() {
            match &token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    if let Some(group) = bracket(&mut tokens) {
                        attributes.extend(attribute(&group));
                        continue;
                    }
                }
                TokenTree::Ident(word) if word == "mod" => {
                    self.module(&mut tokens, &attributes, is_ours, folder, beside);
                }
                TokenTree::Ident(word) if word == "extern" => {
                    let macro_use =
                        |a: &Attribute| a.path == "macro_use" && words(&a.rest).contains(&"test");
                    let next: Vec<String> = tokens.clone().take(2).map(|t| t.to_string()).collect();
                    self.takes_over |=
                        next == ["crate", "kata_test"] && attributes.iter().any(macro_use);
                }
                // Between an attribute and its function stand only words such as `pub async`.
                TokenTree::Ident(word) if word == "fn" => {
                    let name = tokens.peek().map(ToString::to_string);
                    self.function(&attributes, is_ours, name);
                }
                TokenTree::Ident(_) => continue,
                TokenTree::Group(group) => {
                    if group.delimiter() == Delimiter::Parenthesis
                        && is_visibility(&tokens.peek().cloned())
                    {
                        continue;
                    }
                    self.walk(group.stream(), is_ours, folder, beside);
                }
                _ => {}
            }
            attributes.clear();
        }
    }

    fn function(&mut self, attributes: &[Attribute], is_ours: bool, name: Option<String>) {
        if attributes.iter().any(Attribute::is_ours) {
            return;
        }
        let first = attributes
            .iter()
            .find(|attribute| makes_a_test(&attribute.path));
        let Some(attribute) = first else { return };
        let path = match attribute.path.as_str() {
            "core::prelude::v1::test" | "std::prelude::v1::test" => "test",
            path if path == "test" && is_ours => return,
            path => path.trim_start_matches("::"),
        };
        self.found.push(Found {
            line: attribute.line,
            attribute: path.to_owned(),
            test: name,
        });
    }

    /// A module, here or in a file.
    fn module(
        &mut self,
        tokens: &mut Peekable<token_stream::IntoIter>,
        attributes: &[Attribute],
        outer_is_ours: bool,
        folder: &Path,
        beside: &Path,
    ) {
        let Some(TokenTree::Ident(name)) = tokens.peek().cloned() else {
            return;
        };
        tokens.next();
        let name = name.to_string();
        let name = name.trim_start_matches("r#");
        let path = attributes.iter().find(|attribute| attribute.path == "path");
        let path = path.map(|path| {
            path.rest
                .trim_start_matches('=')
                .trim()
                .trim_matches('"')
                .to_owned()
        });
        match tokens.peek() {
            Some(TokenTree::Punct(punct)) if punct.as_char() == ';' => {
                let files = match path {
                    Some(path) => vec![beside.join(path)],
                    None => vec![
                        folder.join(format!("{name}.rs")),
                        folder.join(name).join("mod.rs"),
                    ],
                };
                self.modules.extend(files.into_iter().map(|file| Module {
                    file,
                    outer_is_ours,
                }));
            }
            Some(TokenTree::Group(group)) => {
                let group = group.clone();
                tokens.next();
                let inner = folder.join(path.as_deref().unwrap_or(name));
                self.module_items(group.stream(), outer_is_ours, &inner, &inner);
            }
            _ => {}
        }
    }
}

/// Takes a file's text apart.
pub(super) fn tokens(file: &Path, text: &str) -> Result<TokenStream, RunnerError> {
    text.parse()
        .map_err(|error: proc_macro2::LexError| RunnerError::Source {
            path: file.to_owned(),
            line: error.span().start().line,
            problem: error.to_string(),
        })
}

/// The bracket of an outer attribute.
pub(super) fn bracket(tokens: &mut Peekable<token_stream::IntoIter>) -> Option<Group> {
    let is_bracket = |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket);
    match tokens.next_if(is_bracket) {
        Some(TokenTree::Group(group)) => Some(group),
        _ => None,
    }
}

/// An attribute and, if it is a `cfg_attr`, those that it stands for.
pub(super) fn attribute(group: &Group) -> Vec<Attribute> {
    let mut all = Vec::new();
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    let in_path = |token: &&TokenTree| match token {
        TokenTree::Ident(_) => true,
        TokenTree::Punct(punct) => punct.as_char() == ':',
        _ => false,
    };
    let path: String = tokens
        .iter()
        .take_while(in_path)
        .map(ToString::to_string)
        .collect();
    let rest = tokens.iter().skip_while(in_path);
    if path == "cfg_attr"
        && let Some(TokenTree::Group(inner)) = rest.clone().next()
    {
        let inner: Vec<TokenTree> = inner.stream().into_iter().collect();
        let is_comma =
            |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
        for part in inner.split(is_comma).skip(1) {
            let stream: TokenStream = part.iter().cloned().collect();
            let mut part = Group::new(Delimiter::Bracket, stream);
            part.set_span(group.span());
            all.extend(attribute(&part));
        }
    }
    all.push(Attribute {
        path,
        line: group.span().start().line,
        rest: rest.map(ToString::to_string).collect(),
    });
    all
}

pub(super) fn makes_a_test(path: &str) -> bool {
    let last = path.rsplit("::").next().unwrap_or_default();
    TESTS.contains(&last) || last.ends_with("_test")
}

fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .collect()
}

/// Returns whether a `use` of a module, not of a module or function in it, brings in what has this path,
/// under its own name.
fn imports(items: &TokenStream, path: &[&str]) -> bool {
    let mut tokens = items.clone().into_iter();
    // Whether the next block in braces has a scope of its own.
    let mut is_scope = false;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(word) if word == "use" => {
                let tree: Vec<TokenTree> = tokens.by_ref().take_while(not(';')).collect();
                if tree_imports(&tree, path) {
                    return true;
                }
            }
            TokenTree::Ident(word) if word == "fn" || word == "mod" => is_scope = true,
            TokenTree::Punct(end) if end.as_char() == ';' => is_scope = false,
            TokenTree::Group(group)
                if group.delimiter() == Delimiter::Brace
                    && !std::mem::take(&mut is_scope)
                    && imports(&group.stream(), path) =>
            {
                return true;
            }
            _ => {}
        }
    }
    false
}

/// Returns whether a tree of `use` brings in what has this path, under its own name.
fn tree_imports(tree: &[TokenTree], path: &[&str]) -> bool {
    let is_colon = |token: &&TokenTree| !not(':')(token);
    let colons = tree.iter().take_while(is_colon).count();
    match (&tree[colons..], path) {
        ([TokenTree::Group(group)], _) => {
            let trees: Vec<TokenTree> = group.stream().into_iter().collect();
            trees
                .split(|token| !not(',')(token))
                .any(|tree| tree_imports(tree, path))
        }
        ([TokenTree::Punct(star)], [_]) => star.as_char() == '*',
        ([TokenTree::Ident(name), rest @ ..], [first, others @ ..]) if name == first => {
            match others {
                [] => rest.is_empty(),
                others => tree_imports(rest, others),
            }
        }
        _ => false,
    }
}

/// Says of a token whether it is not this sign.
fn not(sign: char) -> impl Fn(&TokenTree) -> bool {
    move |token| !matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

/// Returns whether what follows a parenthesis makes it the end of `pub(crate)`.
fn is_visibility(next: &Option<TokenTree>) -> bool {
    let words = ["fn", "async", "const", "unsafe", "extern", "mod"];
    matches!(next, Some(TokenTree::Ident(word)) if words.iter().any(|w| word == w))
}
