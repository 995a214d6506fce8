//! The only constraints for which a test may be skipped.

use super::{MAY_SKIP, settings};
use crate::constraint::keep;
use crate::names::Names;
use crate::verdict::{Reason, SAID};

/// The only constraints for which a test may be skipped.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// As it was written.
    text: String,
    /// The constraints as reasons name them, which is atom by atom.
    allowed: Names<'static>,
}

impl Allowance {
    /// Reads a list of constraints, of probes (`when = path::of::probe`), and of `skip!`, by which
    /// tests speak for themselves.
    pub(super) fn read(text: String) -> Result<Self, String> {
        let (constraints, mut allowed) = take_own(&text);
        for constraint in settings::constraints(MAY_SKIP, &constraints)? {
            constraint.reason_names(&mut allowed);
        }
        Ok(Self { text, allowed })
    }

    /// Says why a skip for these reasons is not allowed. Each of them has to be: a test that lacks
    /// something else as well would hide that.
    pub(super) fn forbids(&self, reasons: &[Reason]) -> Option<String> {
        let mut forbidden = Names::new();
        for reason in reasons {
            if !self.allows(&reason.constraint) {
                forbidden.insert(&reason.constraint);
            }
        }
        if forbidden.all().is_empty() {
            return None;
        }
        let list = if self.text.trim().is_empty() {
            "nothing"
        } else {
            self.text.trim()
        };
        Some(format!(
            "a skip for {} is not allowed here: {MAY_SKIP} lists {list}",
            forbidden.all().join(", ")
        ))
    }
}

impl Allowance {
    /// Says whether a constraint as a reason names it is allowed: itself, or, if all of `any(…)` is
    /// unmet, every part.
    fn allows(&self, constraint: &str) -> bool {
        if self.allowed.get(constraint).is_some() {
            return true;
        }
        let Some(inner) = constraint.strip_prefix("any(") else {
            return false;
        };
        let Some(inner) = inner.strip_suffix(')') else {
            return false;
        };
        // A part can have commas of its own, as a range of versions has.
        let mut part = String::new();
        for piece in inner.split(", ") {
            if !part.is_empty() {
                part.push_str(", ");
            }
            part.push_str(piece);
            if self.allows(&part) {
                part.clear();
            }
        }
        part.is_empty()
    }
}

/// Takes out what is no constraint that a text can name, and returns the rest, in which all else
/// stands where it stood.
fn take_own(text: &str) -> (String, Names<'static>) {
    let mut rest = String::new();
    let mut own = Names::new();
    let (mut depth, mut quoted) = (0_usize, false);
    let outer_comma = |c: char| {
        match c {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0 && !quoted
    };
    for piece in text.split_inclusive(outer_comma) {
        match named(piece.trim_end_matches(',').trim()) {
            Some(name) => {
                own.insert(keep(&name));
                rest.extend(std::iter::repeat_n(' ', piece.len()));
            }
            None => rest.push_str(piece),
        }
    }
    (rest, own)
}

/// What reasons call a probe or `skip!`.
fn named(piece: &str) -> Option<String> {
    if piece == SAID {
        return Some(SAID.to_owned());
    }
    let path = piece.strip_prefix("when")?.trim_start();
    let path = path.strip_prefix('=')?.trim().trim_matches('"');
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    (!path.is_empty() && path.chars().all(is_path)).then(|| format!("when {path}"))
}
