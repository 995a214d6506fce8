//! The user namespace and the capabilities of this process.

use super::Answer;
use super::system::{System, text, why};

const NAMESPACE: &str = "/proc/self/ns/user";
const STATUS: &str = "/proc/thread-self/status";

/// Reads the namespace's identity, or the map of uids if that cannot be read. An identity map proves
/// nothing, since a namespace may map every uid to itself.
pub(super) fn namespace(system: &dyn System) -> Answer {
    let error = match system.link(NAMESPACE) {
        Ok(link) => return Answer::is(link, NAMESPACE),
        Err(error) => error,
    };
    if let Ok(map) = text(system, "/proc/self/uid_map") {
        let words: Vec<&str> = map.split_ascii_whitespace().collect();
        if !words.is_empty() && words != ["0", "0", "4294967295"] {
            let words = words.join(" ");
            return Answer::is(format!("uid_map {words}"), "/proc/self/uid_map");
        }
    }
    Answer::unknown(format!("cannot be read: {}", why(&error)), NAMESPACE)
}

/// Reads the effective set, the kernel's last capability, and other settings that may deny an operation.
pub(super) fn capabilities(system: &dyn System) -> Result<Answer, Answer> {
    let status = text(system, STATUS)?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.strip_prefix(':')).map(str::trim)
    };
    let Some(effective) = field("CapEff") else {
        return Err(Answer::unknown("no CapEff field", STATUS));
    };
    if u64::from_str_radix(effective, 16).is_err() {
        let problem = format!("CapEff {effective:?} is not a number");
        return Err(Answer::unknown(problem, STATUS));
    }
    let mut answer = format!("CapEff {effective}");
    for name in ["NoNewPrivs", "Seccomp"] {
        if let Some(value) = field(name) {
            answer += &format!(", {name} {value}");
        }
    }
    if let Ok(last) = text(system, "/proc/sys/kernel/cap_last_cap") {
        answer += &format!(", last {}", last.trim());
    }
    Ok(Answer::is(answer, STATUS))
}
