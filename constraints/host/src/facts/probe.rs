//! Probes of the user. They are arbitrary code, so they run where they can neither hang nor kill the harness.
#![expect(
    unsafe_code,
    reason = "only a process with one thread may fork for any code"
)]

use std::any::Any;
use std::panic::catch_unwind;
use std::time::Duration;

use super::question::Probe;
use super::{Answer, Finding};
use crate::sys::{
    Message, NoAnswer, Sends, Standard, TRUNCATED, answer_within, in_thread_within, redirect,
};
use crate::verdict::{Evidence, Status, Verdict};

/// How long a probe may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Calls the probe, in a child if this process has one thread, else in a thread of its own: a child
/// forked beside other threads could inherit a lock that is never released.
///
/// # Safety
///
/// This process has one thread, if `one_thread` is true.
pub(super) unsafe fn answer(probe: Probe, one_thread: bool) -> Answer {
    let ended = if one_thread {
        // SAFETY: this process has one thread.
        unsafe { in_child(probe) }
    } else {
        in_thread(probe)
    };
    let verdict = ended.unwrap_or_else(|problem| Verdict::undetermined(problem, probe.name));
    let (finding, evidence): (fn(String) -> Finding, _) = match verdict {
        Verdict::Met(evidence) => (Finding::Is, evidence),
        Verdict::Unmet(evidence) => (Finding::Absent, evidence),
        Verdict::Undetermined(evidence) => (Finding::Unknown, evidence),
    };
    Answer::new(finding(evidence.observed.into_owned()), evidence.source)
}

/// # Safety
///
/// This process has one thread.
unsafe fn in_child(probe: Probe) -> Result<Verdict, String> {
    let work = |send: &Sends<'_>| {
        // What a probe prints must not get into a list of tests.
        let _ = redirect(Standard::Output, std::io::stderr());
        send(encode(&call(probe)).encode().as_bytes());
        // Coverage counters are written by the ordinary way out.
        std::process::exit(0);
    };
    // SAFETY: this process has one thread, so the child may run any code.
    let answer = unsafe { answer_within(LIMIT, work) };
    let bytes = answer.map_err(|problem| problem.to_string())?;
    let messages = Message::decode_all(&bytes).unwrap_or_default();
    let verdict = messages.first().and_then(decode);
    verdict.ok_or(TRUNCATED)?
}

fn in_thread(probe: Probe) -> Result<Verdict, String> {
    let ended = in_thread_within(probe.name, LIMIT, move || call(probe))
        .map_err(|error| format!("the probe's thread did not start: {error}"))?;
    ended.ok_or_else(|| NoAnswer::TooLate(LIMIT).to_string())?
}

fn call(probe: Probe) -> Result<Verdict, String> {
    catch_unwind(probe.run).map_err(|payload| {
        format!(
            "the probe panicked: {}",
            panic_text(&*payload).unwrap_or("no text")
        )
    })
}

/// Returns the text of a panic, if it has one.
pub fn panic_text(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<&'static str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

fn encode(result: &Result<Verdict, String>) -> Message {
    match result {
        Ok(verdict) => {
            let evidence = verdict.evidence();
            let texts = [&*evidence.observed, &*evidence.source];
            Message::new(verdict.status().word(), &texts)
        }
        Err(problem) => Message::new("failed", &[problem]),
    }
}

fn decode(message: &Message) -> Option<Result<Verdict, String>> {
    let mut texts = message.texts.iter().cloned();
    let observed = texts.next()?;
    Some(match Status::from_word(&message.kind) {
        Some(status) => {
            let evidence = Evidence::new(observed, texts.next().unwrap_or_default());
            Ok(Verdict::with_status(status, evidence))
        }
        None => Err(observed),
    })
}

#[cfg(test)]
mod tests {
    //! Scope: what crosses the pipe. Probes in real children run in the harness's own tests.

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_result_of_a_probe_is_read_back(observed in any::<String>(), source in any::<String>()) {
            for result in [
                Ok(Verdict::met(observed.clone(), source.clone())),
                Ok(Verdict::unmet(observed.clone(), source.clone())),
                Ok(Verdict::undetermined(observed.clone(), source)),
                Err(observed),
            ] {
                prop_assert_eq!(decode(&encode(&result)), Some(result));
            }
        }

        /// A probe can write what it likes to its pipe.
        #[test]
        fn any_message_is_a_result_if_it_has_a_text(
            kind in "met|unmet|undetermined|failed|\\PC{0,9}",
            texts in prop::collection::vec(any::<String>(), 0..4),
        ) {
            let result = decode(&Message { kind: kind.clone(), texts: texts.clone() });
            prop_assert_eq!(result.is_some(), !texts.is_empty());
            let is_verdict = matches!(&*kind, "met" | "unmet" | "undetermined");
            if let Some(result) = result {
                prop_assert_eq!(result.is_ok(), is_verdict);
            }
        }
    }

    #[test]
    fn a_panic_is_undetermined_and_keeps_its_text() {
        let probe = Probe {
            name: "breaks",
            run: || panic!("no {}", "luck"),
        };
        // SAFETY: `one_thread` is false.
        let answer = unsafe { answer(probe, false) };
        assert_eq!(
            answer.finding,
            Finding::Unknown("the probe panicked: no luck".into())
        );
        assert_eq!(answer.source, "breaks");
    }
}
