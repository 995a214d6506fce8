//! The parser of filter expressions.

use kata_test_host::constraint::nearest;

use super::matcher::{Matcher, Style};
use super::{Expression, Predicate};

/// How deep expressions may be nested.
const DEEPEST: usize = 32;

/// Predicates of nextest that depend on more than the test.
const UNSUPPORTED: [&str; 5] = ["deps", "rdeps", "platform", "default", "group"];

/// A message, and the byte at which the problem begins.
type Problem = (String, usize);

pub(super) fn expression(text: &str) -> Result<Expression, Problem> {
    let mut parser = Parser { text, at: 0 };
    let parsed = parser.or(0)?;
    match parser.rest().chars().next() {
        None => Ok(parsed),
        Some(')') => Err(("unopened parenthesis".into(), parser.at)),
        Some(_) => Err(("expected an operator: `&`, `|` or `-`".into(), parser.at)),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    /// Skips space and returns what is left.
    fn rest(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    /// Skips one of these operators if it is next: signs, or words that end there.
    fn skip_operator(&mut self, operators: &[&'static str]) -> Option<&'static str> {
        let rest = self.rest();
        let is_next = |operator: &&&str| {
            let Some(after) = rest.strip_prefix(**operator) else {
                return false;
            };
            let is_word = operator.starts_with(char::is_alphabetic);
            !is_word || !after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
        };
        let operator = operators.iter().find(is_next)?;
        self.at += operator.len();
        Some(operator)
    }

    fn or(&mut self, depth: usize) -> Result<Expression, Problem> {
        let mut parts = vec![self.and(depth)?];
        while self.skip_operator(&["||", "|", "+", "or"]).is_some() {
            parts.push(self.and(depth)?);
        }
        let flat = parts.into_iter().flat_map(|part| match part {
            Expression::Or(parts) => parts,
            part => vec![part],
        });
        Ok(one_or(flat.collect(), Expression::Or))
    }

    fn and(&mut self, depth: usize) -> Result<Expression, Problem> {
        let mut parts = vec![self.unary(depth)?];
        while let Some(operator) = self.skip_operator(&["&&", "&", "-", "and"]) {
            let part = self.unary(depth)?;
            parts.push(match operator {
                "-" => Expression::Not(Box::new(part)),
                _ => part,
            });
        }
        let flat = parts.into_iter().flat_map(|part| match part {
            Expression::And(parts) => parts,
            part => vec![part],
        });
        Ok(one_or(flat.collect(), Expression::And))
    }

    fn unary(&mut self, depth: usize) -> Result<Expression, Problem> {
        self.rest();
        if depth == DEEPEST {
            let message = format!("expressions are nested at most {DEEPEST} deep");
            return Err((message, self.at));
        }
        if self.skip_operator(&["!", "not"]).is_some() {
            return Ok(Expression::Not(Box::new(self.unary(depth + 1)?)));
        }
        let opened = self.at;
        if self.skip_operator(&["("]).is_some() {
            let inner = self.or(depth + 1)?;
            return match self.skip_operator(&[")"]) {
                Some(_) => Ok(inner),
                None if self.rest().is_empty() => Err(("unclosed parenthesis".into(), opened)),
                None => Err(("expected `)` or an operator".into(), self.at)),
            };
        }
        self.predicate()
    }

    fn predicate(&mut self) -> Result<Expression, Problem> {
        let start = self.at;
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let name = &rest[..end.unwrap_or(rest.len())];
        if name.is_empty() {
            return Err(("expected a predicate such as `test(NAME)`".into(), start));
        }
        let is_call = rest[name.len()..].trim_start().starts_with('(');
        let meant = match meaning(name) {
            Err(_) if !is_call => {
                let message = "expected a predicate; to select tests by name, write `test(NAME)`";
                return Err((message.into(), start));
            }
            meant => meant.map_err(|message| (message, start))?,
        };
        self.at += name.len();
        if self.skip_operator(&["("]).is_none() {
            let message = format!("`{name}` needs parentheses: `{name}({})`", meant.example());
            return Err((message, start));
        }
        match meant {
            Meaning::Constant(all) => match self.skip_operator(&[")"]) {
                Some(_) if all => Ok(Expression::All),
                Some(_) => Ok(Expression::None),
                None => Err((format!("`{name}()` takes no name"), self.at)),
            },
            Meaning::Is(predicate) => Ok(Expression::Is(predicate, self.matcher(predicate)?)),
        }
    }

    /// Parses a name and the closing parenthesis.
    fn matcher(&mut self, predicate: Predicate) -> Result<Matcher, Problem> {
        let start = self.at;
        let rest = self.rest();
        let at = self.at;
        let style = match rest.chars().next() {
            Some('=') => Some(Style::Exact),
            Some('~') => Some(Style::Part),
            Some('#') => Some(Style::Glob),
            Some('/') => Some(Style::Regex),
            _ => None,
        };
        self.at += usize::from(style.is_some());
        let style = style.unwrap_or_else(|| predicate.default_style());
        let pattern = match style {
            Style::Regex => self.until('/', at, &['/'])?,
            _ => self.until(')', start - 1, &[')', '/', '\\'])?,
        };
        let pattern = match style {
            Style::Regex if self.skip_operator(&[")"]).is_none() => {
                return Err(("expected `)` after the regular expression".into(), self.at));
            }
            Style::Regex => pattern.as_str(),
            _ => pattern.trim(),
        };
        let empty = pattern.is_empty() && predicate != Predicate::Ignored;
        if empty {
            let name = predicate.name();
            return Err((format!("`{name}` needs a name: `{name}(NAME)`"), at));
        }
        Matcher::new(style, pattern).map_err(|message| (message, at))
    }

    /// Reads up to a sign that is not escaped, and skips it. A backslash before another character than
    /// `escaped` stands for itself.
    fn until(&mut self, end: char, opened: usize, escaped: &[char]) -> Result<String, Problem> {
        let mut read = String::new();
        let mut characters = self.text[self.at..].char_indices().peekable();
        while let Some((index, character)) = characters.next() {
            match character {
                '\\' if characters
                    .peek()
                    .is_some_and(|(_, next)| escaped.contains(next)) =>
                {
                    read.extend(characters.next().map(|(_, next)| next));
                }
                _ if character == end => {
                    self.at += index + end.len_utf8();
                    return Ok(read);
                }
                _ => read.push(character),
            }
        }
        let unclosed = if end == '/' {
            "unclosed regular expression"
        } else {
            "unclosed parenthesis"
        };
        Err((unclosed.into(), opened))
    }
}

impl Predicate {
    fn default_style(self) -> Style {
        match self {
            Self::Test | Self::Ignored => Style::Part,
            Self::Package | Self::Binary | Self::BinaryId => Style::Glob,
            Self::Kind => Style::Exact,
        }
    }
}

/// What a name in front of a parenthesis stands for.
enum Meaning {
    /// `all()` or `none()`.
    Constant(bool),
    Is(Predicate),
}

impl Meaning {
    fn example(&self) -> &'static str {
        match self {
            Self::Constant(_) => "",
            Self::Is(_) => "NAME",
        }
    }
}

fn meaning(name: &str) -> Result<Meaning, String> {
    match name {
        "all" => return Ok(Meaning::Constant(true)),
        "none" => return Ok(Meaning::Constant(false)),
        _ if UNSUPPORTED.contains(&name) => {
            return Err(format!("nextest's predicate `{name}` is not supported"));
        }
        _ => {}
    }
    let names = Predicate::ALL.map(|(name, _)| name);
    if let Some(index) = names.iter().position(|known| *known == name) {
        return Ok(Meaning::Is(Predicate::ALL[index].1));
    }
    let known: Vec<&str> = names.into_iter().chain(["all", "none"]).collect();
    Err(match nearest(name, &known) {
        Some(index) => format!(
            "unknown predicate `{name}`; did you mean `{}`?",
            known[index]
        ),
        None => format!(
            "unknown predicate `{name}`; the predicates are {}",
            known.join(", ")
        ),
    })
}

fn one_or(mut parts: Vec<Expression>, several: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.len() {
        1 => parts.remove(0),
        _ => several(parts),
    }
}
