//! Features of all CPUs, by their names in /proc/cpuinfo.

use super::Answer;
use super::system::{System, text};

const FILE: &str = "/proc/cpuinfo";

pub(super) fn feature(name: &str, system: &dyn System) -> Result<Answer, Answer> {
    let info = text(system, FILE)?;
    let lists: Vec<&str> = info.lines().filter_map(features).collect();
    if lists.is_empty() {
        return Err(Answer::unknown("no feature list", FILE));
    }
    let has = |list: &&&str| list.split_ascii_whitespace().any(|feature| feature == name);
    let (with, all) = (lists.iter().filter(has).count(), lists.len());
    Ok(match with {
        0 => Answer::absent("no CPU has it", FILE),
        with if with == all => Answer::is("every CPU has it", FILE),
        with => Answer::absent(format!("only {with} of {all} CPUs have it"), FILE),
    })
}

/// Returns the features in a line, whose key depends on the architecture.
fn features(line: &str) -> Option<&str> {
    let (key, list) = line.split_once(':')?;
    matches!(key.trim(), "flags" | "Features" | "features").then_some(list)
}
