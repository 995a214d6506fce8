//! The run-time parser of the attribute's grammar, for contracts and allowances.
//!
//! It uses the same table as the constructors.

mod lex;

use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::suggest::nearest;
use super::table::{Build, METADATA, NAMES, TABLE};
use super::{Atom, Constraint, Entry};
use crate::names::Names;
use lex::{Lexer, Token};

/// How deep lists may be nested.
const DEEPEST: usize = 32;
/// The operators.
const LISTS: [&str; 3] = ["all", "any", "not"];

/// Why a text cannot be parsed as constraints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    message: String,
    at: usize,
    text: String,
}

impl ParseError {
    /// Returns the byte of the text at which the problem begins.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.text.get(self.at..).unwrap_or_default();
        let near: String = from.chars().take(24).collect();
        if near.is_empty() {
            write!(f, "{} at the end", self.message)
        } else {
            write!(f, "{} at {near:?}", self.message)
        }
    }
}

impl std::error::Error for ParseError {}

/// Parses constraints in the attribute's grammar: `root, kernel_ge = "6.1", any(kvm, not(root))`.
///
/// `when` is not possible here, since a text cannot name a function. The values are kept for the
/// life of the process, each once.
///
/// # Errors
///
/// The first problem with its position; for an unknown name, a suggestion.
pub fn parse(text: &str) -> Result<Vec<Constraint>, ParseError> {
    let mut parser = Parser {
        lexer: Lexer::new(text),
    };
    parser.list(None, 0).map_err(|(message, at)| ParseError {
        message,
        at,
        text: text.to_owned(),
    })
}

/// Returns the constraint that a mistyped name may have meant.
#[must_use]
pub fn suggest(name: &str) -> Option<&'static str> {
    nearest(name, NAMES).map(|index| NAMES[index])
}

type Problem = (String, usize);

struct Parser<'a> {
    lexer: Lexer<'a>,
}

impl Parser<'_> {
    /// Parses up to the closing bracket, or to the end if none was opened.
    fn list(&mut self, opened: Option<usize>, depth: usize) -> Result<Vec<Constraint>, Problem> {
        let mut list = Vec::new();
        loop {
            let (token, at) = self.lexer.next()?;
            match (token, opened) {
                (Token::End, None) | (Token::Close, Some(_)) => return Ok(list),
                (Token::End, Some(opened)) => {
                    return Err(("unclosed bracket".into(), opened));
                }
                (Token::Name(name), _) => list.push(self.constraint(name, at, depth)?),
                _ => return Err(("expected a constraint name".into(), at)),
            }
            let (token, at) = self.lexer.next()?;
            match (token, opened) {
                (Token::Comma, _) => {}
                (Token::End, None) | (Token::Close, Some(_)) => return Ok(list),
                (Token::End, Some(opened)) => {
                    return Err(("unclosed bracket".into(), opened));
                }
                _ => return Err(("expected `,`".into(), at)),
            }
        }
    }

    fn constraint(&mut self, name: &str, at: usize, depth: usize) -> Result<Constraint, Problem> {
        if LISTS.contains(&name) {
            return self.group(name, at, depth);
        }
        let entry = entry(name).map_err(|message| (message, at))?;
        match self.lexer.peek()? {
            Token::Equals => {
                self.lexer.next()?;
                let (token, at) = self.lexer.next()?;
                value(entry, token).map_err(|message| (message, at))
            }
            Token::Open => self.values(entry),
            _ => value(entry, Token::End).map_err(|message| (message, at)),
        }
    }

    fn group(&mut self, name: &str, at: usize, depth: usize) -> Result<Constraint, Problem> {
        if depth == DEEPEST {
            return Err((format!("lists are nested at most {DEEPEST} deep"), at));
        }
        let (Token::Open, opened) = self.lexer.next()? else {
            return Err((format!("`{name}` needs a list: `{name}(…)`"), at));
        };
        let list = self.list(Some(opened), depth + 1)?;
        match (name, &list[..]) {
            (_, []) => Err((format!("`{name}()` is empty"), at)),
            ("not", [one]) => Ok(Constraint::Not(Box::leak(Box::new(*one)))),
            ("not", _) => Err((
                "`not` takes one constraint: write `not(all(…))` or `not(any(…))`".into(),
                at,
            )),
            ("any", _) => Ok(Constraint::Any(keep_list(&list))),
            _ => Ok(Constraint::All(keep_list(&list))),
        }
    }

    /// `name("a", "b")`, which is `all(name = "a", name = "b")`.
    fn values(&mut self, entry: &Entry) -> Result<Constraint, Problem> {
        let (_, opened) = self.lexer.next()?;
        let mut list = Vec::new();
        loop {
            let (token, at) = self.lexer.next()?;
            match token {
                Token::Close if !list.is_empty() => break,
                Token::Text(_) | Token::Number(_) => {
                    list.push(value(entry, token).map_err(|message| (message, at))?);
                }
                _ => {
                    let name = entry.name;
                    return Err((format!("expected a value of `{name}`: `{name}(\"…\")`"), at));
                }
            }
            match self.lexer.next()? {
                (Token::Comma, _) => {}
                (Token::Close, _) => break,
                (Token::End, _) => return Err(("unclosed bracket".into(), opened)),
                (_, at) => return Err(("expected `,`".into(), at)),
            }
        }
        Ok(match list[..] {
            [one] => one,
            _ => Constraint::All(keep_list(&list)),
        })
    }
}

fn entry(name: &str) -> Result<&'static Entry, String> {
    if let Some(entry) = TABLE.iter().find(|entry| entry.name == name) {
        return Ok(entry);
    }
    if METADATA.contains(&name) {
        return Err(format!("`{name}` is metadata of a test, not a constraint"));
    }
    let meant = suggest(name).map_or(String::new(), |meant| format!("; did you mean `{meant}`?"));
    Err(format!("unknown constraint `{name}`{meant}"))
}

/// Returns the constraint of a row and the value after its `=`; `Token::End` if there is none.
fn value(entry: &Entry, value: Token<'_>) -> Result<Constraint, String> {
    let name = entry.name;
    let accept = |atom: Result<_, &str>| {
        atom.map(|kind| Constraint::Atom(Atom(kind)))
            .map_err(|problem| format!("`{name}`: {problem}"))
    };
    match (entry.build, value) {
        (Build::Flag(atom), Token::End) => Ok(Constraint::Atom(Atom(atom))),
        (Build::Flag(_), _) => Err(format!("`{name}` takes no value")),
        (Build::Text(make), Token::Text(text)) => accept(make(keep(text))),
        (Build::Text(_), _) => Err(format!("`{name}` takes a string: `{}`", entry.example)),
        (Build::Number(make), Token::Number(number)) => accept(make(number)),
        (Build::Number(_), _) => Err(format!("`{name}` takes a number: `{}`", entry.example)),
        (Build::Function, _) => Err(format!(
            "`{name}` takes a function, which only the attribute accepts"
        )),
    }
}

/// Keeps a text for the life of the process, each text once.
pub fn keep(text: &str) -> &'static str {
    static KEPT: Mutex<Names<'static>> = Mutex::new(Names::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = kept.get(text) {
        return text;
    }
    let text: &'static str = Box::leak(text.into());
    kept.insert(text);
    text
}

fn keep_list(list: &[Constraint]) -> &'static [Constraint] {
    Box::leak(list.into())
}

#[cfg(test)]
mod tests;
