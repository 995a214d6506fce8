//! Tests that return early. They pass without running what follows, which is a skip reported as a pass.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree, token_stream};

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

/// Finds the tests of a source file that return success on a condition, in an `if`, a `match` or the
/// `else` of a `let`, as a statement of the test itself: any `return` of a test that returns `()`
/// (`return println!("not here")` too), and `return Ok(…)` of one that returns a `Result`.
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
        function.statements(function.body.clone(), false, &mut lines);
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
    returns_unit: bool,
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
        let mut signature = Vec::new();
        let body = loop {
            match tokens.next() {
                None => return,
                Some(token) if ends(&token) => break token,
                Some(token) => signature.push(token.to_string()),
            }
        };
        let TokenTree::Group(body) = body else {
            return;
        };
        let arrow = signature.windows(2).position(|pair| pair == ["-", ">"]);
        let is_test = |a: &Attribute| a.is_ours() || source::makes_a_test(&a.path);
        self.functions.push(Function {
            name: name.to_string(),
            is_test: attributes.iter().any(is_test),
            returns_unit: arrow.is_none_or(|at| signature[at + 2..] == ["()"]),
            body: body.stream(),
        });
    }
}

fn is_group(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(_))
}

/// Collects words up to the first `fn`: functions in a macro call, as in `proptest!`, are tests by their
/// attribute, and call helpers.
fn words(tokens: TokenStream, named: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(word) if word == "fn" => return,
            TokenTree::Ident(word) => drop(named.insert(word.to_string())),
            TokenTree::Group(group) => words(group.stream(), named),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

impl Function {
    /// Notes the lines of a block's statements that return success on a condition.
    fn statements(&self, tokens: TokenStream, on_condition: bool, lines: &mut Vec<usize>) {
        let mut tokens = tokens.into_iter();
        // What the next block in braces is.
        let mut opens = Block::Other;
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Ident(word) => match word.to_string().as_str() {
                    "if" | "else" | "match" => opens = Block::Condition,
                    "for" | "while" | "loop" | "async" | "move" => opens = Block::Separate,
                    "return" if on_condition && self.is_success(tokens.clone()) => {
                        lines.push(word.span().start().line);
                    }
                    _ => {}
                },
                TokenTree::Group(block) if block.delimiter() == Delimiter::Brace => {
                    match std::mem::take(&mut opens) {
                        Block::Condition => self.statements(block.stream(), true, lines),
                        Block::Other if on_condition => {
                            self.statements(block.stream(), true, lines);
                        }
                        Block::Separate | Block::Other => {}
                    }
                }
                // The body of a closure.
                TokenTree::Punct(bar) if bar.as_char() == '|' => {
                    let next = tokens.clone().next();
                    if matches!(next, Some(TokenTree::Group(body)) if body.delimiter() == Delimiter::Brace)
                    {
                        opens = Block::Separate;
                    }
                }
                TokenTree::Punct(end) if end.as_char() == ';' => opens = Block::Other,
                TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    /// Returns whether what follows `return` ends the test as passed.
    fn is_success(&self, mut rest: token_stream::IntoIter) -> bool {
        if self.returns_unit {
            let value: Vec<TokenTree> = rest.take_while(|token| !ends_value(token)).collect();
            let mut pairs = value.windows(2);
            return !pairs.any(|pair| {
                let [TokenTree::Ident(name), TokenTree::Punct(bang)] = pair else {
                    return false;
                };
                bang.as_char() == '!' && DIVERGING.iter().any(|macro_name| name == macro_name)
            });
        }
        match rest.next() {
            Some(TokenTree::Ident(ok)) if ok == "Ok" => {}
            other => return other.is_none_or(|token| ends_value(&token)),
        }
        // `Ok(())`, or `Ok::<(), Error>(())`.
        let mut before = None;
        let is_argument = |token: TokenTree| {
            let is_first = before.as_deref().is_none_or(|before| before == ">");
            before = Some(token.to_string());
            is_first && is_group(&token)
        };
        rest.any(is_argument) && rest.next().is_none_or(|token| ends_value(&token))
    }
}

/// Macros that end a test otherwise than as passed.
const DIVERGING: [&str; 5] = ["panic", "unreachable", "todo", "unimplemented", "skip"];

#[derive(Default)]
enum Block {
    Condition,
    /// A `return` in it ends a loop or a closure.
    Separate,
    #[default]
    Other,
}

fn ends_value(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if matches!(punct.as_char(), ';' | ','))
}
