//! The comparison operator of a constraint.

use std::fmt;

/// The comparison operator of a constraint.
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

impl Operator {
    /// Returns the name of kata-test's constraint on the kernel version with this comparison.
    pub(super) fn kernel_constraint(self) -> &'static str {
        match self {
            Self::Eq => "kernel_eq",
            Self::Ge => "kernel_ge",
            Self::Gt => "kernel_gt",
            Self::Le => "kernel_le",
            Self::Lt => "kernel_lt",
            Self::Ne => "kernel_ne",
        }
    }
}
