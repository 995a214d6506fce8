//! What the kernel of a place logged while a test ran.

use super::Outcome;
use kata_test_host::reason::Reason;

/// How many messages are kept, and how many characters of each.
const MAX_MESSAGES: usize = 200;
const MAX_LENGTH: usize = 1000;

/// How a warning of the kernel begins: the first words of a message that names a bug. `WARNING: ` begins
/// those of lockdep and RCU too, `BUG: ` those of KASAN, KFENCE and KCSAN.
const WARNINGS: [&str; 11] = [
    "BUG: ",
    "INFO: possible ",
    "INFO: task ",
    "Internal error: ",
    "Kernel panic - ",
    "Oops: ",
    "UBSAN: ",
    "WARNING: ",
    "general protection fault",
    "kernel BUG at ",
    "unregister_netdevice: waiting for ",
];

/// Messages that begin in the same way and are about time: a host that is busy, or emulation, delays the CPUs of a
/// guest.
const DELAYS: [&str; 2] = ["BUG: soft lockup", "BUG: workqueue lockup"];

/// The bits of `/proc/sys/kernel/tainted` that are set by a bug, with their letters. The others are about modules
/// that were loaded and about what users request.
const BUG_TAINTS: [(u32, &str); 3] = [
    (5, "B (a bad page)"),
    (7, "D (an oops or BUG)"),
    (9, "W (a warning)"),
];

/// What to do about warnings of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelWarnings {
    /// The test that caused one fails.
    #[default]
    Fail,
    /// They are noted as reasons of the test.
    Allow,
}

/// What the kernel logged while a test ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelLog {
    messages: Vec<String>,
    warning: Option<String>,
}

impl KernelLog {
    /// Adds a message, without its level and time.
    pub fn add_message(&mut self, text: &str) {
        let text: String = text.chars().take(MAX_LENGTH).collect();
        if self.warning.is_none() && is_warning(&text) {
            self.warning = Some(text.clone());
        }
        if self.messages.len() < MAX_MESSAGES {
            self.messages.push(text);
        }
    }

    /// Adds new bits of `/proc/sys/kernel/tainted`.
    pub fn add_taint(&mut self, bits: u64) {
        let letter = BUG_TAINTS.iter().find(|(bit, _)| bits >> bit & 1 == 1);
        if let (None, Some((_, letter))) = (&self.warning, letter) {
            self.warning = Some(format!("the kernel was tainted: {letter}"));
        }
    }

    /// Returns the first message that reports a bug.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Returns the messages for the record of a test: those of one that failed, or that made a warning.
    #[must_use]
    pub fn messages_for(&self, outcome: Outcome) -> Vec<String> {
        match outcome.is_failure() || self.warning.is_some() {
            true => self.messages.clone(),
            false => Vec::new(),
        }
    }

    /// Applies a warning to the outcome of the test that ran: a pass is none. Other outcomes stay, with the warning
    /// as a further reason.
    pub fn apply(
        &self,
        warnings: KernelWarnings,
        outcome: &mut Outcome,
        reasons: &mut Vec<Reason>,
    ) {
        let Some(warning) = &self.warning else {
            return;
        };
        let passes = matches!(
            outcome,
            Outcome::Passed | Outcome::Flaky | Outcome::SuspectedSkip
        );
        if passes && warnings == KernelWarnings::Fail {
            *outcome = Outcome::Failed;
        }
        reasons.push(Reason::kernel(warning));
    }
}

fn is_warning(text: &str) -> bool {
    // The watchdog's messages have its name before them.
    let text = text.strip_prefix("watchdog: ").unwrap_or(text);
    let begins = |starts: &[&str]| starts.iter().any(|start| text.starts_with(start));
    begins(&WARNINGS) && !begins(&DELAYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &str) -> KernelLog {
        let mut log = KernelLog::default();
        lines.lines().for_each(|line| log.add_message(line));
        log
    }

    fn warning(lines: &str) -> Option<String> {
        log(lines).warning
    }

    /// Texts of Linux 5.10 to 7.3.
    #[test]
    fn reports_of_bugs_are_warnings() {
        for (lines, expected) in [
            (
                "------------[ cut here ]------------\n\
                 WARNING: CPU: 0 PID: 77 at /src/warn.c:9 warn_init+0x5/0x1000 [warn]\n\
                 Modules linked in: warn(OE+)",
                "WARNING: CPU: 0 PID: 77 at /src/warn.c:9 warn_init+0x5/0x1000 [warn]",
            ),
            (
                "==================================================================\n\
                 BUG: KASAN: slab-out-of-bounds in kasan_init+0x96/0xa0 [test]\n\
                 Write of size 1 at addr ffff888105ef2e7b by task insmod/214",
                "BUG: KASAN: slab-out-of-bounds in kasan_init+0x96/0xa0 [test]",
            ),
            (
                "======================================================\n\
                 WARNING: possible circular locking dependency detected\n\
                 6.1.0-rc4+ #2 Not tainted",
                "WARNING: possible circular locking dependency detected",
            ),
            (
                "INFO: task touch:93 blocked for more than 10 seconds.",
                "INFO: task touch:93 blocked for more than 10 seconds.",
            ),
            (
                "BUG: kernel NULL pointer dereference, address: 0000000000000000\n\
                 Oops: 0002 [#1] PREEMPT SMP NOPTI",
                "BUG: kernel NULL pointer dereference, address: 0000000000000000",
            ),
        ] {
            assert_eq!(warning(lines).as_deref(), Some(expected));
        }
    }

    #[test]
    fn delays_and_other_messages_are_no_warnings() {
        for line in [
            "watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [init:1]",
            "rcu: INFO: rcu_sched self-detected stall on CPU",
            "INFO: rcu_sched detected stalls on CPUs/tasks:",
            "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 33s!",
            "hrtimer: interrupt took 11048960 ns",
            "clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as unstable",
            "process 'a WARNING: b' started with executable stack",
            "loop0: detected capacity change from 0 to 2048",
        ] {
            assert_eq!(warning(line), None, "{line}");
        }
    }

    #[test]
    fn only_taints_by_bugs_are_warnings() {
        let of = |bits| {
            let mut log = KernelLog::default();
            log.add_taint(bits);
            log.warning
        };
        // A module that is not signed, and from elsewhere; a soft lockup.
        assert_eq!(of(1 << 12 | 1 << 13 | 1 << 14), None);
        assert_eq!(
            of(1 << 12 | 1 << 9).as_deref(),
            Some("the kernel was tainted: W (a warning)")
        );
    }

    #[test]
    fn a_warning_fails_a_test_that_passed_unless_it_is_allowed() {
        let log = log("BUG: a");
        let applied = |warnings, mut outcome| {
            let mut reasons = Vec::new();
            log.apply(warnings, &mut outcome, &mut reasons);
            (outcome, reasons.len())
        };
        for (outcome, expected) in [
            (Outcome::Passed, Outcome::Failed),
            (Outcome::SuspectedSkip, Outcome::Failed),
            (Outcome::TimedOut, Outcome::TimedOut),
            (Outcome::ExpectedFailure, Outcome::ExpectedFailure),
            (Outcome::Skipped, Outcome::Skipped),
        ] {
            assert_eq!(applied(KernelWarnings::Fail, outcome), (expected, 1));
            assert_eq!(applied(KernelWarnings::Allow, outcome), (outcome, 1));
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut log = KernelLog::default();
        for _ in 0..=MAX_MESSAGES {
            log.add_message(&"ä".repeat(MAX_LENGTH + 1));
        }
        log.add_message("BUG: late");
        assert_eq!(log.messages.len(), MAX_MESSAGES);
        assert_eq!(log.messages[0].chars().count(), MAX_LENGTH);
        assert_eq!(log.warning.as_deref(), Some("BUG: late"));
    }
}
