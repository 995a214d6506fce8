//! The host we are on: each question is asked once, and its answer kept.
#![expect(unsafe_code, reason = "that a process has one thread is a promise")]

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, OnceLock, PoisonError, RwLock};

use super::look::look;
use super::system::Live;
use super::{Answer, Host, Question};
use crate::names::in_order;

/// The host this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Here;

/// A cell for each question, so that a probe of the user may itself ask about something else. Cells
/// last as long as the process, so an answer is handed out without being copied.
type Cell = &'static OnceLock<Answer>;

type Answers = HashMap<Question, Cell, BuildHasherDefault<Fnv>>;

static ANSWERS: LazyLock<RwLock<Answers>> = LazyLock::new(RwLock::default);

/// FNV-1a. Questions are the tests' own, so nobody chooses them to collide, and the hash that guards
/// against that takes a good part of a long list's time.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            self.0 = (self.0 ^ u64::from(bytes[at])).wrapping_mul(0x100_0000_01b3);
            at += 1;
        }
    }

    /// Which question it is, and the end of a text: a number in one step, not a byte in each.
    fn write_isize(&mut self, number: isize) {
        self.write_u8(number.to_le_bytes()[0]);
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

static ONE_THREAD: AtomicBool = AtomicBool::new(false);

/// Promises that this process has one thread, so that a forked child may run any code.
///
/// ```compile_fail,E0133
/// kata_test_host::facts::one_thread();
/// ```
///
/// # Safety
///
/// This process has one thread, and starts no other before [`many_threads`] is called.
pub unsafe fn one_thread() {
    ONE_THREAD.store(true, Ordering::Relaxed);
}

/// Forgets every answer: the calling child has become another user, to whom other things are true.
pub fn forget() {
    ANSWERS
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .clear();
    Live::forget();
}

/// Takes that promise back, for a child in which a test may start threads.
pub fn many_threads() {
    ONE_THREAD.store(false, Ordering::Relaxed);
}

pub(super) fn has_one_thread() -> bool {
    ONE_THREAD.load(Ordering::Relaxed)
}

impl Here {
    /// Returns what this process has asked so far, with the answers, in the order of their texts.
    #[must_use]
    pub fn asked() -> Vec<(Question, Answer)> {
        let answers = ANSWERS.read().unwrap_or_else(PoisonError::into_inner);
        let mut asked = Vec::new();
        for (question, cell) in answers.iter() {
            if let Some(answer) = cell.get() {
                asked.push((question.to_string(), *question, answer));
            }
        }
        let asked: Vec<_> = asked.iter().collect();
        in_order(&asked, |(text, ..)| text)
            .into_iter()
            .map(|(_, question, answer)| (*question, (*answer).clone()))
            .collect()
    }
}

impl Host for Here {
    fn ask(&self, question: Question) -> Cow<'_, Answer> {
        Cow::Borrowed(cell(question).get_or_init(|| answer(question)))
    }
}

fn cell(question: Question) -> Cell {
    let known = ANSWERS.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(cell) = known.get(&question) {
        return cell;
    }
    drop(known);
    let mut answers = ANSWERS.write().unwrap_or_else(PoisonError::into_inner);
    answers
        .entry(question)
        .or_insert_with(|| Box::leak(Box::default()))
}

#[cfg(target_os = "linux")]
fn answer(question: Question) -> Answer {
    look(question, &Live)
}

/// Elsewhere only what is not about the kernel can be there.
#[cfg(not(target_os = "linux"))]
fn answer(question: Question) -> Answer {
    match question {
        Question::EffectiveUid
        | Question::Command(_)
        | Question::CommandVersion(_)
        | Question::Arch
        | Question::Cpus
        | Question::DiskFree
        | Question::Env(_)
        | Question::OptIn(_)
        | Question::Probe(_) => look(question, &Live),
        _ => Answer::absent("this is no Linux", "the target's system"),
    }
}

#[cfg(test)]
mod tests {
    //! Scope: what holds on any host. Verdicts over given answers are tested in `constraint`.

    use super::*;
    use crate::facts::Finding;
    use crate::facts::Probe;
    use crate::verdict::Verdict;

    #[test]
    fn the_kernel_has_a_version() {
        let answer = Here.ask(Question::KernelRelease);
        let Finding::Is(release) = &answer.finding else {
            panic!("{answer:?}")
        };
        let proc = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("osrelease");
        assert_eq!(*release, proc.trim());
    }

    #[test]
    fn a_probe_may_ask_and_is_called_once() {
        static CALLS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        fn asks() -> Verdict {
            CALLS.fetch_add(1, Ordering::Relaxed);
            let source = Here.ask(Question::EffectiveUid).source.clone();
            Verdict::met("asked", source)
        }
        let question = Question::Probe(Probe {
            name: "asks",
            run: asks,
        });
        for _ in 0..2 {
            let answer = Here.ask(question);
            assert_eq!(answer.finding, Finding::Is("asked".into()));
            assert_eq!(answer.source, "geteuid");
        }
        assert_eq!(CALLS.load(Ordering::Relaxed), 1);
    }
}
