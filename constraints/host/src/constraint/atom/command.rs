//! Commands, and the versions that they state.

use crate::constraint::atom::{Kind, Versioned};
use crate::constraint::evaluator::Evaluator;
use crate::constraint::range::Range;
use crate::constraint::text::{cut, try_const};
use crate::facts::Question;
use crate::verdict::Verdict;

/// Reads a name, and a comparison if one follows it.
pub(crate) const fn command(text: &'static str) -> Result<Kind, &'static str> {
    let bytes = text.as_bytes();
    let mut end = 0;
    while end < bytes.len() && !matches!(bytes[end], b' ' | b'<' | b'>' | b'=' | b'!') {
        end += 1;
    }
    let name = cut(text, 0, end);
    try_const!(check(name));
    let versions = try_const!(Range::after_name(
        text,
        end,
        "a command is one name, without spaces around it",
        "a command is one name without arguments; only a comparison may follow, such as \"qemu-img >= 8.0\"",
    ));
    Ok(Kind::Command(Versioned { name, versions }))
}

/// Accepts what can be the name of a file on PATH and nothing that looks like more.
const fn check(name: &'static str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("a command needs a name, such as \"qemu-img\"");
    }
    let bytes = name.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        if bytes[index] == b'/' {
            return Err("a command is searched on PATH: state its name without a directory");
        }
        if bytes[index] < b' ' || bytes[index] == 0x7f {
            return Err("a command is one name, without control characters");
        }
        index += 1;
    }
    Ok(())
}

pub(crate) fn decide(command: &Versioned, evaluator: &Evaluator<'_>) -> Verdict {
    let Versioned { name, versions } = *command;
    let found = evaluator.require_present(Question::Command(name));
    let (Verdict::Met(_), Some(versions)) = (&found, &versions) else {
        return found;
    };
    evaluator.decide(Question::CommandVersion(name), &|seen| {
        seen.met_if_known(
            versions.contains(|required| required.compare_numbers(seen.text, true)),
            &|| format!("{name} is version {}", seen.text),
            &|| format!("version {:?} of {name} cannot be compared", seen.text),
        )
    })
}
