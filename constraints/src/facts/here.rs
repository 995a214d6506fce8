//! The host we are on: each question is asked once, and its answer kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use super::{Answer, Finding, Host, Question, command, kvm, probe};

/// The host this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Here;

type Cell = Arc<OnceLock<Answer>>;

/// A cell for each question, so that a probe of the user may itself ask about something else.
static ANSWERS: LazyLock<Mutex<HashMap<Question, Cell>>> = LazyLock::new(Mutex::default);

static ONE_THREAD: AtomicBool = AtomicBool::new(false);

/// Promises that this process has one thread, so that a forked child may run any code.
pub(crate) fn one_thread() {
    ONE_THREAD.store(true, Ordering::Relaxed);
}

/// Forgets every answer: the calling child has become another user, to whom other things are true.
pub(crate) fn forget() {
    ANSWERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clear();
}

/// Takes that promise back, for a child in which a test may start threads.
pub(crate) fn many_threads() {
    ONE_THREAD.store(false, Ordering::Relaxed);
}

impl Host for Here {
    fn ask(&self, question: Question) -> Answer {
        let cell = {
            let mut answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(answers.entry(question).or_default())
        };
        cell.get_or_init(|| look(question)).clone()
    }
}

fn look(question: Question) -> Answer {
    match question {
        Question::EffectiveUid => {
            Answer::new(Finding::Is(nix::unistd::geteuid().to_string()), "geteuid")
        }
        Question::KernelRelease => Answer::new(kernel_release(), "uname"),
        Question::Kvm => kvm::look(),
        Question::Command(name) => command::look(name),
        Question::Probe(user) => probe::look(user, ONE_THREAD.load(Ordering::Relaxed)),
    }
}

#[cfg(target_os = "linux")]
fn kernel_release() -> Finding {
    match nix::sys::utsname::uname() {
        Ok(uname) => match uname.release().to_str() {
            Some(release) => Finding::Is(release.to_owned()),
            None => Finding::Unknown(format!("release {:?} is no text", uname.release())),
        },
        Err(errno) => Finding::Unknown(format!("uname: {errno}")),
    }
}

#[cfg(not(target_os = "linux"))]
fn kernel_release() -> Finding {
    Finding::Absent("this is no Linux kernel".to_owned())
}

#[cfg(test)]
mod tests {
    //! Scope: what holds on any host. Verdicts over given answers are tested in `constraint`.

    use super::*;
    use crate::constraint::Probe;
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
            let Answer { source, .. } = Here.ask(Question::EffectiveUid);
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
