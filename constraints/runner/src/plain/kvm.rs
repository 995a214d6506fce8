//! Signs that a plain test lacks KVM: what it prints, or that its binary opens /dev/kvm. A test with such
//! a sign is run again where KVM is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex_lite::Regex;

use super::task::Ended;
use crate::elf::has_constant;
use crate::{Outcome, ProcessEnd};

const NODE: &str = "/dev/kvm";

static KVM: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)\bkvm\b").expect("a constant pattern is valid"));

/// Which binaries open /dev/kvm.
#[derive(Default)]
pub(super) struct KvmUsers(HashMap<PathBuf, bool>);

impl KvmUsers {
    /// Returns why a test that has failed, or that is suspected to skip, may lack KVM. The place of the test
    /// has none.
    pub(super) fn lack(&mut self, ended: &Ended, executable: &Path) -> Option<String> {
        let (outcome, reasons) = (ended.result.outcome, &ended.result.reasons);
        let states_why = reasons.iter().any(|one| one.is_constraint());
        if matches!(outcome, Outcome::Skipped | Outcome::SuspectedSkip) && states_why {
            let kvm = reasons.iter().find(|one| one.constraint == "kvm");
            return kvm.map(ToString::to_string);
        }
        match (&ended.end, outcome) {
            (Some(ProcessEnd::Exited(_) | ProcessEnd::Signaled(_)), Outcome::Failed)
            | (_, Outcome::SuspectedSkip) => {}
            // It was not started, or its time limit ended it.
            _ => return None,
        }
        let mut lines = ended.output.lines().map(str::trim);
        let line = lines.find(|line| mentions(line)).map(str::to_owned);
        let opens = || format!("its binary opens {NODE}");
        line.or_else(|| self.opens(executable).then(opens))
    }

    /// Whether the binary has the node's path. What cannot be read has not.
    fn opens(&mut self, executable: &Path) -> bool {
        let opens = || has_constant(executable, NODE).unwrap_or(false);
        *self.0.entry(executable.to_owned()).or_insert_with(opens)
    }
}

/// Whether a line of output is about KVM. The harness's own lines have the test's name.
fn mentions(line: &str) -> bool {
    let is_of_the_harness = line.starts_with("test ") || line.starts_with("----");
    line.len() <= 4096 && !is_of_the_harness && KVM.is_match(line)
}

#[cfg(test)]
mod tests {
    //! Scope: the signs. `tests/places` runs such tests.

    use std::time::Duration;

    use super::*;
    use crate::plain::result::PlainResult;
    use kata_test_host::reason::Reason;

    fn lack(end: Option<ProcessEnd>, outcome: Outcome, output: &str) -> Option<String> {
        let mut result = PlainResult::infrastructure("made up", "here");
        result.outcome = outcome;
        let ended = Ended {
            end,
            output: output.to_owned(),
            result,
            took: Duration::ZERO,
            uid: 0,
            kernel_log: crate::KernelLog::default(),
            artifacts: None,
        };
        KvmUsers::default().lack(&ended, Path::new("/no/such/binary"))
    }

    #[test]
    fn a_failure_or_a_suspected_skip_that_mentions_kvm_may_lack_it() {
        let line = "Could not open /dev/kvm: Permission denied (os error 13)";
        let output = format!("\nrunning 1 test\n  {line}\ntest a ... FAILED\n");
        let failed = || Some(ProcessEnd::Exited(101));
        assert_eq!(
            lack(failed(), Outcome::Failed, &output),
            Some(line.to_owned())
        );
        let suspected = lack(
            Some(ProcessEnd::Exited(0)),
            Outcome::SuspectedSkip,
            "skip: no KVM",
        );
        assert_eq!(suspected.as_deref(), Some("skip: no KVM"));
        for (end, outcome, output) in [
            (Some(ProcessEnd::Exited(0)), Outcome::Passed, line),
            (
                Some(ProcessEnd::TimedOut(Duration::ZERO)),
                Outcome::TimedOut,
                line,
            ),
            (None, Outcome::Failed, line),
            (failed(), Outcome::Failed, "test needs::kvm ... FAILED"),
            (failed(), Outcome::Failed, "kvmalloc failed"),
        ] {
            assert_eq!(lack(end, outcome, output), None, "{output}");
        }
    }

    #[test]
    fn a_skip_that_states_its_constraints_lacks_no_other() {
        let this = std::env::current_exe().expect("a path");
        for outcome in [Outcome::Skipped, Outcome::SuspectedSkip] {
            for (constraint, lacks) in [("root", false), ("kvm", true)] {
                let reason = Reason::constraint(constraint, "absent", "nowhere");
                let ended = Ended {
                    end: Some(ProcessEnd::Exited(0)),
                    output: "/dev/kvm".to_owned(),
                    result: PlainResult::of(outcome, vec![reason]),
                    took: Duration::ZERO,
                    uid: 0,
                    kernel_log: crate::KernelLog::default(),
                    artifacts: None,
                };
                let found = KvmUsers::default().lack(&ended, &this).is_some();
                assert_eq!(found, lacks, "{outcome:?} {constraint}");
            }
        }
    }

    #[test]
    fn a_binary_that_opens_the_node_may_lack_it_whatever_it_prints() {
        let this = std::env::current_exe().expect("a path");
        assert!(KvmUsers::default().opens(&this));
        assert!(!KvmUsers::default().opens(Path::new("/no/such/binary")));
    }
}
