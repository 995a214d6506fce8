//! The allowance (`KATA_TEST_MAY_SKIP`): the only constraints for which a test may be skipped.

use super::{MAY_SKIP, settings};
use crate::constraint::keep;
use crate::names::Names;
use crate::reason::{Reason, ReasonKind};

/// The constraints for which a test may be skipped.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// As it was written.
    text: String,
    /// The names of the constraints in reasons.
    allowed: Names<'static>,
}

impl Allowance {
    /// Reads a list of constraints, probes (`when = path::of::probe`) and `skip!`.
    pub(super) fn read(text: String) -> Result<Self, String> {
        let (constraints, mut allowed) = take_own(&text);
        for constraint in settings::constraints(MAY_SKIP, &constraints)? {
            constraint.reason_names(&mut allowed);
        }
        Ok(Self { text, allowed })
    }

    /// Why a skip for these reasons is not allowed, if it is not: every reason has to be allowed.
    pub(super) fn forbids(&self, reasons: &[Reason]) -> Option<String> {
        let mut forbidden = Names::new();
        for reason in reasons {
            if !self.allows(reason) {
                forbidden.insert(match reason.kind {
                    ReasonKind::RuntimeSkip => RUNTIME_SKIP,
                    _ => &reason.constraint,
                });
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

    /// Whether a reason is allowed: its constraint, or every alternative of an unmet `any(…)`.
    fn allows(&self, reason: &Reason) -> bool {
        let is_allowed = |name: &str| self.allowed.get(name).is_some();
        match reason.kind {
            ReasonKind::RuntimeSkip => is_allowed(RUNTIME_SKIP),
            _ => {
                let alternatives = reason.alternatives();
                is_allowed(&reason.constraint)
                    || !alternatives.is_empty() && alternatives.iter().all(|name| is_allowed(name))
            }
        }
    }
}

/// The name of runtime skips in `KATA_TEST_MAY_SKIP`.
const RUNTIME_SKIP: &str = "skip!";

/// Removes `when = …` and `skip!` entries, replacing them with spaces so that error positions stay
/// valid.
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

/// The name in reasons of a `when = …` or `skip!` entry.
fn named(piece: &str) -> Option<String> {
    if piece == RUNTIME_SKIP {
        return Some(RUNTIME_SKIP.to_owned());
    }
    let path = piece.strip_prefix("when")?.trim_start();
    let path = path.strip_prefix('=')?.trim().trim_matches('"');
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    (!path.is_empty() && path.chars().all(is_path)).then(|| format!("when {path}"))
}
