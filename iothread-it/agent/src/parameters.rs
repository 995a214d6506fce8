//! Words on the kernel's command line that are for the agent.

use std::fs;

/// Returns whether there is this word.
pub(crate) fn has(word: &str) -> bool {
    is_in(&command_line(), word)
}

/// Returns what follows the start of a word.
pub(crate) fn value(start: &str) -> Option<String> {
    value_in(&command_line(), start)
}

fn command_line() -> String {
    fs::read_to_string("/proc/cmdline").unwrap_or_default()
}

fn is_in(line: &str, word: &str) -> bool {
    line.split_whitespace().any(|one| one == word)
}

fn value_in(line: &str, start: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    words.find_map(|word| word.strip_prefix(start).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole() {
        let line = "quiet guest_agent.kvm guest_agent.tmp=12m\n";
        assert!(is_in(line, "guest_agent.kvm") && is_in(line, "quiet"));
        assert!(!is_in(line, "guest_agent") && !is_in("guest_agent.kvmx", "guest_agent.kvm"));
        assert_eq!(value_in(line, "guest_agent.tmp=").as_deref(), Some("12m"));
        assert_eq!(value_in(line, "guest_agent.cgroup="), None);
    }
}
