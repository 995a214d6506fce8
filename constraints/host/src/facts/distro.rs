//! The distribution, from os-release(5). In a container this is the image's, not the kernel's.

use super::Answer;
use super::system::{System, text};

/// The first one that exists is read.
const FILES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// Returns `ID`, and `VERSION_ID` if there is one: rolling distributions have none.
pub(super) fn id(system: &dyn System) -> Answer {
    let (release, file) = match read(system) {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    let id = value(&release, "ID").unwrap_or("linux".to_owned());
    match value(&release, "VERSION_ID") {
        Some(version) => Answer::is(format!("{id} {version}"), file),
        None => Answer::is(id, file),
    }
}

/// Returns `ID` and `ID_LIKE`.
pub(super) fn like(system: &dyn System) -> Answer {
    let (release, file) = match read(system) {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    let id = value(&release, "ID").unwrap_or("linux".to_owned());
    match value(&release, "ID_LIKE") {
        Some(like) => Answer::is(format!("{id} {like}"), file),
        None => Answer::is(id, file),
    }
}

fn read(system: &dyn System) -> Result<(String, &'static str), Answer> {
    for file in FILES {
        match system.exists(file) {
            Ok(false) => {}
            _ => {
                return match text(system, file) {
                    Ok(release) => Ok((release, file)),
                    Err(problem) => Err(Answer::unknown(problem, file)),
                };
            }
        }
    }
    Err(Answer::unknown("no os-release file", FILES[0]))
}

/// Returns a variable's value. The last assignment counts; an empty value is none.
pub(crate) fn value(release: &str, name: &str) -> Option<String> {
    let assigned = release.lines().rev().find_map(|line| {
        let rest = line.trim().strip_prefix(name)?;
        rest.strip_prefix('=')
    });
    let value = unquote(assigned?);
    (!value.is_empty()).then_some(value)
}

/// Removes a shell's quotes and backslashes.
fn unquote(written: &str) -> String {
    let mut value = String::new();
    let mut quote = None;
    let mut letters = written.trim().chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('"' | '\'', None) => quote = Some(letter),
            (letter, Some(open)) if letter == open => quote = None,
            ('\\', None | Some('"')) => value.extend(letters.next()),
            (letter, None) if letter.is_whitespace() => break,
            _ => value.push(letter),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    //! Scope: the file's syntax. Whole files are read by the made-up hosts.

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_unquoted_like_a_shell() {
        for (line, expected) in [
            ("ID=debian", Some("debian")),
            ("ID='debian'", Some("debian")),
            ("ID=\"debian\"", Some("debian")),
            (" ID=debian # a comment", Some("debian")),
            ("ID=\"a \\\"b\\\" \\\\c\"", Some("a \"b\" \\c")),
            ("ID='a\\b'", Some("a\\b")),
            ("ID=", None),
            ("ID=\"\"", None),
            ("ID=\"open", Some("open")),
            ("NOT_ID=x", None),
            ("ID_LIKE=x", None),
            ("ID=a\nID=b", Some("b")),
        ] {
            assert_eq!(value(line, "ID").as_deref(), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_file_panics(release in any::<String>()) {
            let _ = value(&release, "ID");
            let _ = unquote(&release);
        }
    }
}
