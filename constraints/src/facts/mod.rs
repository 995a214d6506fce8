//! What this host is: questions and answers, each answer with its source.
//!
//! Only this module looks at the host. A question is asked when a test first needs it, and once a
//! process. Probing is harmless: nothing is loaded, configured or left behind, and whatever could
//! hang runs in a child with a deadline.

mod command;
mod here;
mod kvm;
mod probe;

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use crate::constraint::Probe;

pub use here::Here;
pub(crate) use here::{forget, many_threads, one_thread};
pub(crate) use kvm::judge as judge_kvm;
#[cfg(test)]
pub(crate) use kvm::measured as measured_kvm;
pub use kvm::{Kvm, kvm};
pub(crate) use probe::panic_text;

/// Something to know about a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Question {
    /// The effective uid in decimal, by geteuid(2).
    EffectiveUid,
    /// The kernel's release, by uname(2).
    KernelRelease,
    /// What a bounded loop in a guest took.
    Kvm,
    /// The path of an executable file of this name.
    Command(&'static str),
    /// What the user's own function says.
    Probe(Probe),
}

impl Hash for Probe {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is there; this is its text.
    Is(String),
    /// It is not there, or not usable; this is how that showed.
    Absent(String),
    /// It could not be found out; this is why.
    Unknown(String),
}

/// What was found, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was found.
    pub finding: Finding,
    /// Where: a system call, a file, a variable.
    pub source: Cow<'static, str>,
}

impl Answer {
    pub(crate) fn new(finding: Finding, source: impl Into<Cow<'static, str>>) -> Self {
        Self {
            finding,
            source: source.into(),
        }
    }
}

/// Whoever answers questions: the host we are on, or a made-up one.
pub trait Host {
    /// Answers one question.
    fn ask(&self, question: Question) -> Answer;
}
