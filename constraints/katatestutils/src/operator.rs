//! The comparison that a constraint asks for.

use std::fmt;

use kata_test::constraint::kernel;

/// The comparison that a constraint asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `==`
    Eq,
    /// `>=`
    Ge,
    /// `>`
    Gt,
    /// `<=`
    Le,
    /// `<`
    Lt,
    /// `!=`
    Ne,
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Eq => "==",
            Self::Ge => ">=",
            Self::Gt => ">",
            Self::Le => "<=",
            Self::Lt => "<",
            Self::Ne => "!=",
        })
    }
}

impl From<Operator> for kernel::Operator {
    fn from(operator: Operator) -> Self {
        match operator {
            Operator::Eq => Self::Eq,
            Operator::Ge => Self::Ge,
            Operator::Gt => Self::Gt,
            Operator::Le => Self::Le,
            Operator::Lt => Self::Lt,
            Operator::Ne => Self::Ne,
        }
    }
}
