//! Arguments that the kernel was started with.

use super::Answer;
use super::system::{System, text};

const FILE: &str = "/proc/cmdline";

pub(super) fn answer(argument: &str, system: &dyn System) -> Answer {
    match text(system, FILE) {
        Ok(line) if line.split_ascii_whitespace().any(|word| word == argument) => {
            Answer::is("the kernel was started with it", FILE)
        }
        Ok(_) => Answer::absent("the kernel was started without it", FILE),
        Err(problem) => Answer::unknown(problem, FILE),
    }
}
