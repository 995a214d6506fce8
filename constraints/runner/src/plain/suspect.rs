//! Output of a passed test that says that the test skips.
//!
//! The default is careful: a program may skip a frame, and a test may be about skipping.

use std::str::FromStr;
use std::sync::LazyLock;

use regex_lite::Regex;

/// Longer lines are not searched.
const LONGEST_LINE: usize = 4096;

/// What stands in front of a message: a test's name, a level, a time, brackets.
const PREFIX: &str = r"^(?:\s|\[[^\]]*\]|\([^)]*\)|[-=*>#!:|\[]|\d[\d:.,TZ+-]*|(?:trace|debug|info|warn|warning|note|notice|error)\b|test\b|[\w:.<>/-]+:(?:\s|$)|[\w:]+\s*\.\.\.)*";

/// The end of a message, or a reason.
const REASON: &str =
    r"(?:[\s.!…]*$|\s*[:;,(\[\]—–]|\s+-|\s+(?:because|since|due|as|for|on|without|when|if)\b)";

/// A message that consists of the word, or goes on with a reason.
static ALONE: LazyLock<Regex> =
    LazyLock::new(|| regex(&format!(r"(?i){PREFIX}(?:skip|skipped|skipping){REASON}")));

/// What follows a test's own name.
static AFTER_NAME: LazyLock<Regex> = LazyLock::new(|| regex(&format!("(?i)^{REASON}")));

/// The test is what is skipped.
static TEST: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)\bskip(?:s|ped|ping)?\s+(?:(?:this|the|all|remaining|rest of the|rest of|kvm|root|integration)\s+)*tests?\b|\btest(?:s|\s+case)?\s+(?:(?:is|was|are|were|will be|being|has been)\s+)?skipp(?:ed|ing)\b",
    )
});

/// The word, and what an environment may lack.
static WORD: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)\bskip(?:s|ped|ping)?\b"));
static LACK: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)\broot\b|privilege|permission|permitted|capabilit|\bcap_|\bsudo\b|\bkvm\b|\bkernel\b|\brequire[sd]?\b|\bneeds?\b|unsupported|not supported|not available|unavailable|not implemented|no such|missing|unable to|\benosys\b|\beperm\b|\beacces\b",
    )
});

/// The opposite, or a count.
static DENIED: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)\b(?:not|no|never|without|don't|won't|nothing|cannot|0)\s+(?:be\s+|to\s+|tests?\s+|is\s+|are\s+)?skip|\bskip(?:ped|s)?\s*[:=]\s*\d+\b",
    )
});

/// A failure for lack of permission.
static PERMISSION: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)permission denied|operation not permitted|must be superuser|os error (?:1|13)\)|\bOs \{ code: (?:1|13),|\b(?:eperm|eacces|permissiondenied)\b",
    )
});

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern is valid")
}

/// Finds the line of a passed test's output that says that the test skips.
#[derive(Clone, Debug, Default)]
pub struct SuspectPattern(Option<Regex>);

impl SuspectPattern {
    /// Returns the first such line.
    pub(super) fn find<'a>(&self, test: &str, text: &'a str) -> Option<&'a str> {
        // A test about skipping says so in its name, and such output is what it is about.
        let name = test.rsplit("::").next().unwrap_or(test);
        if self.0.is_none() && name.to_ascii_lowercase().contains("skip") {
            return None;
        }
        lines(text).find(|line| match &self.0 {
            Some(pattern) => pattern.is_match(line),
            None => is_suspect(test, line),
        })
    }
}

/// Returns the last line that names a failure for lack of permission.
pub(super) fn lack_of_permission(text: &str) -> Option<&str> {
    lines(text).filter(|line| PERMISSION.is_match(line)).last()
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| line.len() <= LONGEST_LINE)
}

fn is_suspect(test: &str, line: &str) -> bool {
    let Some(word) = WORD.find(line) else {
        return false;
    };
    // The harness's own lines, `test result: ok. …`, and what is quoted.
    let before = line[..word.start()].chars().next_back();
    let is_quoted = before.is_some_and(|sign| "\"'`“‘/_\\{".contains(sign));
    !is_quoted
        && !line.starts_with("test result:")
        && !DENIED.is_match(line)
        && (ALONE.is_match(line)
            || TEST.is_match(line)
            || LACK.is_match(line)
            || is_named(test, &line[word.end()..]))
}

/// Returns whether a text goes on with the test's own name, and a reason. Another name may be that of a
/// file that a program passes over, and so may a single word.
fn is_named(test: &str, text: &str) -> bool {
    const QUOTES: [char; 3] = ['`', '\'', '"'];
    let text = text.trim_start().trim_start_matches(QUOTES);
    let name = test.rsplit("::").next().unwrap_or(test);
    let names = [test, name].into_iter();
    let mut rests = names
        .filter(|name| name.contains("::") || name.contains('_'))
        .filter_map(|name| text.strip_prefix(name));
    rests
        .any(|rest| !rest.starts_with("::") && AFTER_NAME.is_match(rest.trim_start_matches(QUOTES)))
}

impl FromStr for SuspectPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match Regex::new(text) {
            Ok(pattern) if pattern.is_match("") => {
                Err("invalid pattern: it matches every line".to_owned())
            }
            Ok(pattern) => Ok(Self(Some(pattern))),
            Err(error) => Err(format!("invalid regular expression: {error}")),
        }
    }
}

impl From<Regex> for SuspectPattern {
    fn from(pattern: Regex) -> Self {
        Self(Some(pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tests_print_when_they_skip_is_suspect() {
        for line in [
            // nix
            "test_mount requires root. Skipping test.",
            "test_setfsuid requires capability Capability(\"CAP_SYS_ADMIN\"). Skipping test.",
            "Insufficient capabilities. Skipping test.",
            "Skip test_x because kernel version `5.4` doesn't match the requirement `>= 5.10`",
            // Kata
            "INFO: skipping kata_agent::mount::tests which needs root",
            "skipped: requires root",
            // aya, Cloud Hypervisor and others
            "skipping test on kernel KernelVersion(5, 4, 0), XDP requires 5.9",
            "SKIPPED: no nested virtualization",
            "skipping: not root",
            "not running as root; skipping",
            "SKIP",
            "test a::b ... skipping: not root",
            "[2026-01-02T03:04:05Z WARN  my_crate::mount] skipping, /dev/kvm is not accessible",
            "[skip] no loop device",
            "KVM not available - skipping",
            "tests/it.rs: skip: no /dev/fuse",
            "WARN: this test was skipped",
            "skipping because the file system has no reflinks",
        ] {
            assert_eq!(
                SuspectPattern::default().find("a::b", line),
                Some(line.trim()),
                "{line}"
            );
        }
    }

    #[test]
    fn other_output_is_not() {
        for line in [
            "skipping frame 3",
            "skipped 17 bytes of padding",
            "Skipping unknown field `x`",
            "1 passed; 0 skipped",
            "skipped: 3",
            "the parser must not skip the root",
            "expected `skipping: not root`",
            "left: \"skipped: requires root\"",
            "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out",
            "nothing skipped",
            "requires root",
            "skip_if_root is a macro",
            "a hop, skip and jump",
        ] {
            assert_eq!(SuspectPattern::default().find("a::b", line), None, "{line}");
        }
        // A test about skipping.
        let line = "skipping: not root";
        assert_eq!(SuspectPattern::default().find("a::it_skips", line), None);
        let of_a_module = SuspectPattern::default().find("skiplist::tests::needs_kvm", line);
        assert_eq!(of_a_module, Some(line));
    }

    #[test]
    fn a_test_that_prints_its_own_name_is_suspect() {
        let find = |line| SuspectPattern::default().find("net::starts_a_server", line);
        for line in [
            "skipping starts_a_server: DATABASE_URL is not set",
            "Skipping starts_a_server because stdout is not a terminal.",
            "skipping starts_a_server -- no corpus",
            "[warn] skipping `net::starts_a_server`: Docker is not there",
            "Skipped starts_a_server.",
        ] {
            assert_eq!(find(line), Some(line));
        }
        for line in [
            // Files and items that a program passes over.
            "Skipping a_file.txt: it cannot be read",
            "skipping starts_a_server.rs: it is too long",
            "skipping starts_a_server_twice: it is too long",
            "skipping net::starts_a_server::inner: private",
            "skipping starts_a_server entries of 3 files",
            "not skipping starts_a_server: all is there",
        ] {
            assert_eq!(find(line), None, "{line}");
        }
        // landlock
        let line = "Skipping errata_up_to_date: LANDLOCK_CRATE_TEST_ABI not set";
        let found = SuspectPattern::default().find("errata::errata_up_to_date", line);
        assert_eq!(found, Some(line));
        // A single word may be what is passed over.
        let line = "skipping frames: 3";
        assert_eq!(SuspectPattern::default().find("net::frames", line), None);
    }

    #[test]
    fn another_pattern_can_be_set() {
        let pattern: SuspectPattern = "(?i)^bail".parse().expect("a pattern");
        assert_eq!(
            pattern.find("skips", "one\nBail out\n"),
            Some("Bail out"),
            "the name does not matter then"
        );
        assert_eq!(pattern.find("a", "skipping: not root"), None);
        for wrong in ["(", "", "x*"] {
            wrong.parse::<SuspectPattern>().expect_err(wrong);
        }
    }

    #[test]
    fn lack_of_permission_is_found() {
        for line in [
            "called `Result::unwrap()` on an `Err` value: Os { code: 13, kind: PermissionDenied, message: \"Permission denied\" }",
            "Error: EPERM: Operation not permitted",
            "mount failed: Operation not permitted (os error 1)",
            "Sys(EACCES)",
            "mount: /mnt: must be superuser to use mount.",
        ] {
            assert_eq!(lack_of_permission(line), Some(line));
        }
        assert_eq!(
            lack_of_permission("os error 11) code: 130, Error { code: 1, EPERMIT"),
            None
        );
    }
}
