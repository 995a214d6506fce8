//! The host that this process runs on. Each question is answered once.
#![expect(
    unsafe_code,
    reason = "the caller promises that the process has one thread"
)]

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};

use super::dispatch;
use super::system::Live;
use super::{Answer, Host, Question};
use crate::names::in_order;

/// The host that this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Here;

/// A cell for each question, so that a probe of the user can itself look up another fact. Cells are never
/// freed, so that answers need not be copied.
type Cell = &'static OnceLock<Answer>;

/// A list: a process asks some hundred questions at most, and a map would be compiled by every user.
static ANSWERS: RwLock<Vec<(Question, Cell)>> = RwLock::new(Vec::new());

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

/// Forgets all answers, after the calling child has changed its user.
pub fn forget() {
    ANSWERS
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .clear();
    Live::forget();
}

/// Withdraws that promise, for a child in which a test may start threads.
pub fn many_threads() {
    ONE_THREAD.store(false, Ordering::Relaxed);
}

pub(super) fn has_one_thread() -> bool {
    ONE_THREAD.load(Ordering::Relaxed)
}

impl Here {
    /// Returns the questions that this process has asked so far, sorted by their texts, with the answers.
    #[must_use]
    pub fn asked() -> Vec<(Question, Answer)> {
        let answers = ANSWERS.read().unwrap_or_else(PoisonError::into_inner);
        let answered = answers.iter();
        let answered = answered.filter_map(|(question, cell)| Some((*question, cell.get()?)));
        let texts: Vec<(String, (Question, &Answer))> = answered
            .map(|(question, answer)| (question.to_string(), (question, answer)))
            .collect();
        let texts: Vec<_> = texts.iter().collect();
        let sorted = in_order(&texts, |(text, _)| text).into_iter();
        sorted
            .map(|(_, (question, answer))| (*question, (*answer).clone()))
            .collect()
    }
}

impl Host for Here {
    fn ask(&self, question: Question) -> Cow<'_, Answer> {
        Cow::Borrowed(cell(question).get_or_init(|| answer(question)))
    }
}

fn cell(question: Question) -> Cell {
    let find = |known: &[(Question, Cell)]| {
        let mut known = known.iter();
        known.find_map(|(other, cell)| (*other == question).then_some(*cell))
    };
    if let Some(cell) = find(&ANSWERS.read().unwrap_or_else(PoisonError::into_inner)) {
        return cell;
    }
    let mut answers = ANSWERS.write().unwrap_or_else(PoisonError::into_inner);
    // Another thread may have asked it meanwhile.
    find(&answers).unwrap_or_else(|| {
        let cell: Cell = Box::leak(Box::default());
        answers.push((question, cell));
        cell
    })
}

#[cfg(target_os = "linux")]
fn answer(question: Question) -> Answer {
    dispatch::answer(question, &Live)
}

/// On other systems only questions that are not about the kernel have answers.
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
        | Question::Probe(_) => dispatch::answer(question, &Live),
        _ => Answer::absent("not Linux", "compile target"),
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
