//! Filter expressions: a subset of nextest's filtersets, and `ignored(REASON)`.
//!
//! The crate `nextest-filtering` is not used: it evaluates an expression only with guppy's graph of all
//! packages, has no predicate for the reason of an ignored test, and brings 70 crates.

mod matcher;
mod parse;

use std::fmt;
use std::str::FromStr;

use crate::TestName;
use matcher::Matcher;

/// A filter expression: `package(net-*) & not test(/slow$/)`.
///
/// | predicate | selects the tests |
/// |---|---|
/// | `all()`, `none()` | of the workspace; none |
/// | `test(NAME)` | whose names match |
/// | `package(NAME)` | of the packages whose names match |
/// | `binary(NAME)` | of the targets whose names match |
/// | `binary_id(NAME)` | of the binaries whose ids match |
/// | `kind(NAME)` | of the targets of this kind: `lib`, `bin`, `test`, `example`, `bench` |
/// | `ignored(NAME)` | with `#[ignore = "…"]`, whose reason matches; `ignored()` without regard to the reason |
///
/// NAME is `=exact`, `~part`, `/regular expression/` or `#glob`, where a glob has `*` and `?`. A NAME
/// without a sign is a part for `test` and `ignored`, a glob for `package`, `binary` and `binary_id`, and
/// exact for `kind`. A backslash escapes `)`, `/` and itself.
///
/// Operators, the tightest first: `not` or `!`; `and` or `&`, and `-` for "and not"; `or` or `|` or `+`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Expression);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    All,
    None,
    Is(Predicate, Matcher),
    Not(Box<Expression>),
    /// At least two, none of them a conjunction.
    And(Vec<Expression>),
    /// At least two, none of them a disjunction.
    Or(Vec<Expression>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Predicate {
    Test,
    Package,
    Binary,
    BinaryId,
    Kind,
    Ignored,
}

impl Predicate {
    const ALL: [(&'static str, Self); 6] = [
        ("test", Self::Test),
        ("package", Self::Package),
        ("binary", Self::Binary),
        ("binary_id", Self::BinaryId),
        ("kind", Self::Kind),
        ("ignored", Self::Ignored),
    ];

    fn name(self) -> &'static str {
        let named = Self::ALL.iter().find(|(_, predicate)| *predicate == self);
        named.map_or("", |(name, _)| name)
    }
}

impl Filter {
    /// Returns whether the expression selects a test.
    #[must_use]
    pub fn matches(&self, test: &TestName<'_>) -> bool {
        self.0.matches(test)
    }

    /// Returns whether the expression has the predicate `ignored`.
    #[must_use]
    pub(crate) fn is_about_ignored(&self) -> bool {
        self.0.has(Predicate::Ignored)
    }
}

impl Expression {
    fn has(&self, wanted: Predicate) -> bool {
        match self {
            Self::All | Self::None => false,
            Self::Is(predicate, _) => *predicate == wanted,
            Self::Not(inner) => inner.has(wanted),
            Self::And(parts) | Self::Or(parts) => parts.iter().any(|part| part.has(wanted)),
        }
    }

    fn matches(&self, test: &TestName<'_>) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Is(Predicate::Test, name) => name.matches(test.test),
            Self::Is(Predicate::Package, name) => name.matches(test.package()),
            Self::Is(Predicate::Binary, name) => name.matches(test.target()),
            Self::Is(Predicate::BinaryId, name) => name.matches(test.binary),
            Self::Is(Predicate::Kind, name) => name.matches(test.kind()),
            Self::Is(Predicate::Ignored, name) => test.ignored.is_some_and(|r| name.matches(r)),
            Self::Not(inner) => !inner.matches(test),
            Self::And(parts) => parts.iter().all(|part| part.matches(test)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(test)),
        }
    }

    /// Writes an operand of an operator, in parentheses if it has an operator itself.
    fn operand(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(_) | Self::Or(_) => write!(f, "({self})"),
            _ => write!(f, "{self}"),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, operator) = match self {
            Self::All => return f.write_str("all()"),
            Self::None => return f.write_str("none()"),
            Self::Is(predicate, matcher) => return write!(f, "{}({matcher})", predicate.name()),
            Self::Not(inner) => {
                f.write_str("not ")?;
                return inner.operand(f);
            }
            Self::And(parts) => (parts, " & "),
            Self::Or(parts) => (parts, " | "),
        };
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                f.write_str(operator)?;
            }
            part.operand(f)?;
        }
        Ok(())
    }
}

/// Why a text is not a filter expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    message: String,
    at: usize,
    text: String,
}

impl FilterError {
    /// Returns the byte of the text at which the problem begins.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }
}

impl fmt::Display for FilterError {
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

impl std::error::Error for FilterError {}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let expression = parse::expression(text).map_err(|(message, at)| FilterError {
            message,
            at,
            text: text.to_owned(),
        })?;
        Ok(Self(expression))
    }
}

#[cfg(test)]
mod tests;
