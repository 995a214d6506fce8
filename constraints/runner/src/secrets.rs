//! Variables that look like secrets. They are not passed to guests, and their values are not recorded.

use std::borrow::Cow;

/// A variable whose name has one of these words looks like a secret.
const WORDS: [&str; 9] = [
    "AUTH",
    "CREDENTIAL",
    "CREDENTIALS",
    "KEY",
    "PASS",
    "PASSWD",
    "PASSWORD",
    "SECRET",
    "TOKEN",
];

/// Shorter values are not replaced in records: they are found everywhere.
const MIN_VALUE: usize = 8;

/// What stands in the place of a value.
const HIDDEN: &str = "***";

/// Which variables are secrets.
///
/// A variable is one if a word of its name is `AUTH`, `CREDENTIAL`, `CREDENTIALS`, `KEY`, `PASS`, `PASSWD`,
/// `PASSWORD`, `SECRET` or `TOKEN`, in letters of any case, or if a pattern matches its name. In a pattern `*` stands
/// for any characters.
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
        (has_word || matches(&self.patterns)) && !matches(&self.allowed)
    }

    /// Replaces the values of this process's secrets in a text.
    #[must_use]
    pub fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        self.hide_values(text, variables)
    }

    fn hide_values<'a>(
        &self,
        text: &'a str,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Cow<'a, str> {
        let is_hidden = |(name, value): &(String, String)| {
            value.len() >= MIN_VALUE && self.is_secret(name) && text.contains(value.as_str())
        };
        let mut values: Vec<String> = variables
            .filter(is_hidden)
            .map(|(_, value)| value)
            .collect();
        // One may be a part of another.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        let hide = |text: Cow<'a, str>, value: &String| text.replace(value, HIDDEN).into();
        values.iter().fold(text.into(), hide)
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
        ] {
            assert!(default.is_secret(name), "{name}");
        }
        for name in ["RUST_BACKTRACE", "MONKEY", "AUTHOR", "BYPASS", "KEYMAP"] {
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

    #[test]
    fn values_are_hidden_in_texts() {
        let variables = [
            ("API_TOKEN", "abcdefgh"),
            ("LONG_TOKEN", "abcdefgh-ijk"),
            ("SHORT_KEY", "a"),
            ("HOME", "/home/user"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let text = "abcdefgh, abcdefgh-ijk, a, /home/user";
        let hidden = Secrets::default().hide_values(text, variables.into_iter());
        assert_eq!(hidden, "***, ***, a, /home/user");
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
