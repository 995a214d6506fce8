//! Arguments that the kernel was started with.

use super::Answer;
use super::system::{System, text};

const FILE: &str = "/proc/cmdline";

pub(super) fn answer(argument: &str, system: &dyn System) -> Result<Answer, Answer> {
    let line = text(system, FILE)?;
    let mut words = line.split_ascii_whitespace();
    Ok(match words.any(|word| word == argument) {
        true => Answer::is("the kernel was started with it", FILE),
        false => Answer::absent("the kernel was started without it", FILE),
    })
}
