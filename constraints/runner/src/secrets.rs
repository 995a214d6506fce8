//! Variables that look like secrets. They are not passed to guests, and their values are not recorded.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::ffi::OsStr;

use super::Record;

/// A variable whose name has one of these words looks like a secret.
const WORDS: [&str; 16] = [
    "APIKEY",
    "AUTH",
    "COOKIE",
    "CREDENTIAL",
    "CREDENTIALS",
    "KEY",
    "PASS",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PAT",
    "PWD",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "TOKENS",
];

/// The working directory.
const NO_SECRET: &str = "PWD";

/// Shorter values are not replaced in records: they are found everywhere.
const MIN_VALUE: usize = 8;

/// What stands in the place of a value.
const HIDDEN: &str = "***";

/// Which variables are secrets.
///
/// A variable is one if a word of its name is `APIKEY`, `AUTH`, `COOKIE`, `CREDENTIAL`, `CREDENTIALS`, `KEY`, `PASS`,
/// `PASSPHRASE`, `PASSWD`, `PASSWORD`, `PAT`, `PWD`, `SECRET`, `SECRETS`, `TOKEN` or `TOKENS`, in letters of any case, or
/// if a pattern matches its name. In a pattern `*` stands for any characters. `PWD` itself is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    patterns: Vec<String>,
    allowed: Vec<String>,
}

impl Secrets {
    /// Takes further patterns, and those of variables that are no secrets.
    ///
    /// # Errors
    ///
    /// Whether the bad pattern is one of the allowed, its index, and what is wrong with it.
    pub fn new(patterns: Vec<String>, allowed: Vec<String>) -> Result<Self, (bool, usize, String)> {
        for (list, is_allowed) in [(&patterns, false), (&allowed, true)] {
            for (index, pattern) in list.iter().enumerate() {
                check(pattern).map_err(|problem| (is_allowed, index, problem))?;
            }
        }
        Ok(Self { patterns, allowed })
    }

    /// Returns whether a variable is a secret, by its name.
    #[must_use]
    pub fn is_secret(&self, name: &str) -> bool {
        let matches = |patterns: &[String]| {
            let mut patterns = patterns.iter();
            patterns.any(|pattern| is_match(pattern.as_bytes(), name.as_bytes()))
        };
        let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
        let has_word = words.any(|word| WORDS.iter().any(|one| word.eq_ignore_ascii_case(one)));
        let has_word = has_word && name != NO_SECRET;
        (has_word || matches(&self.patterns)) && !matches(&self.allowed)
    }

    /// Returns the values of the secrets among these variables.
    pub(super) fn values_of<'a>(
        &self,
        variables: impl Iterator<Item = (Cow<'a, OsStr>, Cow<'a, OsStr>)>,
    ) -> SecretValues {
        let value = |(name, value): (Cow<'a, OsStr>, Cow<'a, OsStr>)| {
            let value = value.to_str().filter(|value| value.len() >= MIN_VALUE);
            self.is_secret(name.to_str()?)
                .then(|| value.map(str::to_owned))?
        };
        let mut values: Vec<String> = variables.filter_map(value).collect();
        // One may be a part of another.
        values.sort_by_key(|value| Reverse(value.len()));
        SecretValues(values)
    }
}

/// The values of secrets, longer ones first.
#[derive(Debug, Default)]
pub(super) struct SecretValues(Vec<String>);

impl SecretValues {
    /// Replaces the values in a text.
    pub(super) fn hide(&self, text: &mut String) {
        for value in &self.0 {
            if text.contains(value.as_str()) {
                *text = text.replace(value, HIDDEN);
            }
        }
    }

    /// Replaces the values in the texts of a record. Names, by which records are compared, stay.
    pub(super) fn hide_in(&self, record: &mut Record) {
        let texts = [&mut record.output, &mut record.suspect, &mut record.reason];
        let texts = texts.into_iter().flatten();
        let reasons = record.reasons.iter_mut();
        let reasons = reasons.flat_map(|one| [&mut one.observed, &mut one.source]);
        let files = record.artifacts.iter_mut();
        let files = files.flat_map(|artifacts| &mut artifacts.left_out);
        let kernel = &mut record.kernel_messages;
        for text in texts.chain(reasons).chain(files).chain(kernel) {
            self.hide(text);
        }
    }
}

fn check(pattern: &str) -> Result<(), String> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '*');
    match pattern.trim_matches('*') {
        "" => {
            Err("a pattern names variables, such as `ACME_*`; this one is for all or none".into())
        }
        _ if !pattern.chars().all(is_letter) => Err(format!(
            "`{pattern}` matches no name of a variable; a pattern has letters, digits, `_`, `-`, `.` and `*`"
        )),
        _ => Ok(()),
    }
}

/// Whether a pattern matches a name, in letters of any case.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    // The last `*`, and the end of what it stands for.
    let mut star = None;
    while seen < name.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, seen));
            at += 1;
        } else if pattern
            .get(at)
            .is_some_and(|c| c.eq_ignore_ascii_case(&name[seen]))
        {
            (at, seen) = (at + 1, seen + 1);
        } else if let Some((star_at, end)) = star {
            star = Some((star_at, end + 1));
            (at, seen) = (star_at + 1, end + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex_lite::Regex;

    use super::*;
    use crate::{Artifacts, TestId};
    use kata_test_host::reason::Reason;

    fn secrets(patterns: &[&str], allowed: &[&str]) -> Result<Secrets, (bool, usize, String)> {
        let [patterns, allowed] = [patterns, allowed].map(|list| {
            let list = list.iter().map(|one| (*one).to_owned());
            list.collect()
        });
        Secrets::new(patterns, allowed)
    }

    #[test]
    fn secrets_are_recognized_by_words_and_patterns() {
        let default = Secrets::default();
        for name in [
            "GITHUB_TOKEN",
            "CARGO_REGISTRIES_MINE_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "npm_config_password",
            "DOCKER_AUTH_CONFIG",
            "MYSQL_PWD",
            "GITHUB_PAT",
            "GPG_PASSPHRASE",
            "OPENAI_APIKEY",
            "SESSION_COOKIE",
            "APP_SECRETS",
            "CI_TOKENS",
        ] {
            assert!(default.is_secret(name), "{name}");
        }
        for name in [
            "RUST_BACKTRACE",
            "MONKEY",
            "AUTHOR",
            "BYPASS",
            "KEYMAP",
            "PWD",
            "OLDPWD",
            "PATH",
        ] {
            assert!(!default.is_secret(name), "{name}");
        }
        let own = secrets(&["ACME_*", "*_dsn"], &["ACME_URL", "SORT_KEY"]).expect("patterns");
        for (name, is_secret) in [
            ("ACME_LICENCE", true),
            ("acme_licence", true),
            ("ACME_URL", false),
            ("XACME_LICENCE", false),
            ("SENTRY_DSN", true),
            ("SORT_KEY", false),
            ("GITHUB_TOKEN", true),
        ] {
            assert_eq!(own.is_secret(name), is_secret, "{name}");
        }
    }

    #[test]
    fn a_bad_pattern_is_named() {
        for (patterns, allowed, at) in [
            (&["A", ""][..], &[][..], (false, 1)),
            (&["**"], &[], (false, 0)),
            (&[], &["A=B"], (true, 0)),
            (&["A B"], &[], (false, 0)),
        ] {
            let (is_allowed, index, problem) = secrets(patterns, allowed).expect_err("bad");
            assert_eq!((is_allowed, index), at, "{problem}");
        }
    }

    fn values() -> SecretValues {
        let variables = [
            ("API_TOKEN", "abcdefgh"),
            ("LONG_TOKEN", "abcdefgh-ijk"),
            ("SHORT_KEY", "a"),
            ("HOME", "/home/user"),
        ];
        let text = |text: &'static str| Cow::Borrowed(OsStr::new(text));
        let variables = variables.map(|(name, value)| (text(name), text(value)));
        Secrets::default().values_of(variables.into_iter())
    }

    #[test]
    fn values_are_hidden_in_texts() {
        let mut text = "abcdefgh, abcdefgh-ijk, a, /home/user".to_owned();
        values().hide(&mut text);
        assert_eq!(text, "***, ***, a, /home/user");
    }

    #[test]
    fn values_are_hidden_in_a_record() {
        let text = || "it is abcdefgh".to_owned();
        let mut record = Record::of("run", &TestId::new("p::it", "abcdefgh"), "here");
        record.output = Some(text());
        record.suspect = Some(text());
        record.reason = Some(text());
        record.kernel_messages = vec![text()];
        record.reasons = vec![Reason::runtime_skip(text(), text())];
        record.artifacts = Some(Artifacts {
            left_out: vec![text()],
            ..Artifacts::default()
        });
        values().hide_in(&mut record);
        assert_eq!(record.test, "abcdefgh");
        let line = serde_json::to_string(&record).expect("a record");
        assert_eq!(line.matches("it is ***").count(), 7, "{line}");
        assert!(!line.contains("it is abcdefgh"), "{line}");
    }

    proptest! {
        #[test]
        fn a_pattern_is_a_regular_expression(pattern in "[ab*]{0,8}", name in "[abAB]{0,8}") {
            let expression = format!("(?i)^{}$", pattern.replace('*', ".*"));
            let expected = Regex::new(&expression).expect("valid").is_match(&name);
            prop_assert_eq!(is_match(pattern.as_bytes(), name.as_bytes()), expected);
        }
    }
}
