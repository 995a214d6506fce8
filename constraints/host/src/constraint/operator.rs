//! Comparisons as a constraint writes them: `>= 5.10, < 6.9`.

use std::cmp::Ordering;
use std::fmt;

use super::text::{cut, trim};

/// The comparison that a constraint asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the names are the attribute's own: kernel_eq, kernel_ne, …"
)]
pub enum Operator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Operator {
    pub(crate) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Eq => ordering.is_eq(),
            Self::Ne => ordering.is_ne(),
            Self::Lt => ordering.is_lt(),
            Self::Le => ordering.is_le(),
            Self::Gt => ordering.is_gt(),
            Self::Ge => ordering.is_ge(),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "=",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        })
    }
}

/// How many comparisons one text may have.
pub(crate) const MOST: usize = 4;

/// One comparison.
#[derive(Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) operator: Operator,
    pub(crate) version: &'static str,
}

/// Reads comparisons with commas between them.
pub(crate) const fn bounds(text: &'static str) -> Result<[Option<Bound>; MOST], &'static str> {
    let mut bounds = [None; MOST];
    let mut left = Some(text);
    let mut count = 0;
    while let Some(text) = left {
        if count == MOST {
            return Err("at most four comparisons stand in one text");
        }
        match bound(text) {
            Ok((bound, rest)) => {
                bounds[count] = Some(bound);
                left = rest;
            }
            Err(problem) => return Err(problem),
        }
        count += 1;
    }
    Ok(bounds)
}

/// Reads the comparison that opens the text. Returns it with what follows its comma.
const fn bound(text: &'static str) -> Result<(Bound, Option<&'static str>), &'static str> {
    let text = trim(text);
    let bytes = text.as_bytes();
    let (operator, length) = match bytes {
        [b'>', b'=', ..] => (Operator::Ge, 2),
        [b'<', b'=', ..] => (Operator::Le, 2),
        [b'!', b'=', ..] => (Operator::Ne, 2),
        [b'=', b'=', ..] => (Operator::Eq, 2),
        [b'=', ..] => (Operator::Eq, 1),
        [b'>', ..] => (Operator::Gt, 1),
        [b'<', ..] => (Operator::Lt, 1),
        _ => return Err("expected a comparison, such as \">= 5.10\" or \">= 5.10, < 6.9\""),
    };
    let mut end = length;
    while end < bytes.len() && bytes[end] != b',' {
        end += 1;
    }
    let rest = if end < bytes.len() {
        Some(cut(text, end + 1, bytes.len()))
    } else {
        None
    };
    let bound = Bound {
        operator,
        version: trim(cut(text, length, end)),
    };
    Ok((bound, rest))
}
