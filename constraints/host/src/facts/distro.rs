//! The distribution, from os-release(5). In a container this is the image's, not the kernel's.

use super::Answer;
use super::system::{System, text};

/// The first one that exists is read.
const FILES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// Returns `ID`, and another variable if there is one: rolling distributions have no `VERSION_ID`.
pub(super) fn answer(other: &str, system: &dyn System) -> Result<Answer, Answer> {
    let exists = |file: &&str| !matches!(system.exists(file), Ok(false));
    let Some(file) = FILES.into_iter().find(exists) else {
        return Err(Answer::unknown("no os-release file", FILES[0]));
    };
    let release = text(system, file)?;
    let id = value(&release, "ID").unwrap_or("linux".to_owned());
    Ok(match value(&release, other) {
        Some(other) => Answer::is(format!("{id} {other}"), file),
        None => Answer::is(id, file),
    })
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
