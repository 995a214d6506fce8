//! Tests that return early. They pass without running what follows, which is a skip reported as a pass.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree, token_stream};

use super::source::{self, Attribute};
use crate::RunnerError;

/// A `return` on a condition, in a test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct EarlyReturn {
    /// The source file.
    pub file: PathBuf,
    /// The line of `return`, from 1.
    pub line: usize,
    /// The test.
    pub test: String,
}

impl fmt::Display for EarlyReturn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, test } = self;
        write!(
            f,
            "{}:{line}: {test} returns early, which looks like a pass; state in its attribute what it \
             needs, or end it by `kata_test::skip!`",
            file.display()
        )
    }
}

/// Finds the tests of a source file that return success on a condition: `return` or `return Ok(())`
/// in an `if`, a `match` or the `else` of a `let`, as a statement of the test itself.
///
/// Tests are functions with a test's attribute, and those that are named in a macro call beside them,
/// as tests are that a macro declares. A return from a loop is none of these: it ends a wait.
///
/// # Errors
///
/// If the file cannot be read, or is no Rust.
pub fn early_returns(file: &Path) -> Result<Vec<EarlyReturn>, RunnerError> {
    let text = fs::read_to_string(file).map_err(RunnerError::io("read", file))?;
    let mut items = Items::default();
    items.walk(source::tokens(file, &text)?);
    let tests = items
        .functions
        .iter()
        .filter(|function| function.is_test || items.named.contains(&function.name));
    let mut found = Vec::new();
    for function in tests {
        let mut lines = Vec::new();
        statements(function.body.clone(), false, &mut lines);
        found.extend(lines.into_iter().map(|line| EarlyReturn {
            file: file.to_owned(),
            line,
            test: function.name.clone(),
        }));
    }
    Ok(found)
}

struct Function {
    name: String,
    is_test: bool,
    body: TokenStream,
}

#[derive(Default)]
struct Items {
    functions: Vec<Function>,
    /// Words in calls of macros that stand where an item does.
    named: BTreeSet<String>,
}

impl Items {
    fn walk(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        let mut attributes: Vec<Attribute> = Vec::new();
        let mut is_macro = false;
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    if let Some(group) = source::bracket(&mut tokens) {
                        attributes.extend(source::attribute(&group));
                    }
                    continue;
                }
                TokenTree::Punct(punct) => is_macro = punct.as_char() == '!',
                TokenTree::Ident(word) if word == "macro_rules" => {
                    // What a macro is made of are no items.
                    let _ = tokens.by_ref().find(is_group);
                    attributes.clear();
                }
                TokenTree::Ident(word) if word == "fn" => {
                    self.function(&mut tokens, &attributes);
                    attributes.clear();
                }
                TokenTree::Group(group) => {
                    if is_macro {
                        words(group.stream(), &mut self.named);
                    }
                    if group.delimiter() == Delimiter::Brace || is_macro {
                        self.walk(group.stream());
                        attributes.clear();
                    }
                    is_macro = false;
                }
                TokenTree::Ident(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    fn function(
        &mut self,
        tokens: &mut Peekable<token_stream::IntoIter>,
        attributes: &[Attribute],
    ) {
        let Some(TokenTree::Ident(name)) = tokens.next() else {
            return;
        };
        let ends = |token: &TokenTree| match token {
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
            TokenTree::Punct(punct) => punct.as_char() == ';',
            _ => false,
        };
        let Some(TokenTree::Group(body)) = tokens.find(ends) else {
            return;
        };
        let is_test = |a: &Attribute| a.is_ours() || source::makes_a_test(&a.path);
        self.functions.push(Function {
            name: name.to_string(),
            is_test: attributes.iter().any(is_test),
            body: body.stream(),
        });
    }
}

fn is_group(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(_))
}

fn words(tokens: TokenStream, named: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(word) => drop(named.insert(word.to_string())),
            TokenTree::Group(group) => words(group.stream(), named),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Goes through a block's statements and notes the lines of returns that depend on a condition.
fn statements(tokens: TokenStream, on_condition: bool, lines: &mut Vec<usize>) {
    let mut tokens = tokens.into_iter().peekable();
    // What the next block in braces is.
    let mut opens = Block::Other;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(word) => match word.to_string().as_str() {
                "if" | "else" | "match" => opens = Block::Condition,
                "for" | "while" | "loop" => opens = Block::Loop,
                "return" if on_condition && returns_success(&tokens) => {
                    lines.push(word.span().start().line);
                }
                _ => {}
            },
            TokenTree::Group(block) if block.delimiter() == Delimiter::Brace => {
                match std::mem::take(&mut opens) {
                    Block::Condition => statements(block.stream(), true, lines),
                    Block::Other if on_condition => statements(block.stream(), true, lines),
                    Block::Loop | Block::Other => {}
                }
            }
            TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

#[derive(Default)]
enum Block {
    Condition,
    Loop,
    #[default]
    Other,
}

/// Says whether nothing or `Ok(())` is returned.
fn returns_success(rest: &Peekable<token_stream::IntoIter>) -> bool {
    let is_end = |token: Option<&TokenTree>| match token {
        None => true,
        Some(TokenTree::Punct(punct)) => matches!(punct.as_char(), ';' | ','),
        Some(_) => false,
    };
    let is_unit = |group: &Group| group.stream().to_string() == "()";
    let next: Vec<TokenTree> = rest.clone().take(3).collect();
    match next.as_slice() {
        [TokenTree::Ident(ok), TokenTree::Group(value), ..] if ok == "Ok" && is_unit(value) => {
            is_end(next.get(2))
        }
        _ => is_end(next.first()),
    }
}
