//! Matching one name.

use std::fmt;

use regex_lite::Regex;

/// How a name is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Exact,
    Part,
    Regex,
    Glob,
}

/// A pattern for names.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    style: Style,
    pattern: String,
    /// For the styles that need one.
    regex: Option<Regex>,
}

impl Matcher {
    /// Compiles a pattern. The error is a message.
    pub(super) fn new(style: Style, pattern: &str) -> Result<Self, String> {
        let regex = match style {
            Style::Exact | Style::Part => None,
            Style::Regex => {
                let invalid = |error| format!("invalid regular expression: {error}");
                Some(Regex::new(pattern).map_err(invalid)?)
            }
            Style::Glob => Some(glob(pattern)?),
        };
        Ok(Self {
            style,
            pattern: pattern.to_owned(),
            regex,
        })
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        match &self.regex {
            Some(regex) => regex.is_match(name),
            None if self.style == Style::Exact => name == self.pattern,
            None => name.contains(&self.pattern),
        }
    }
}

fn glob(pattern: &str) -> Result<Regex, String> {
    let mut regex = String::from("^(?s:");
    for character in pattern.chars() {
        match character {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' | '{' => {
                return Err(format!(
                    "`{character}` is not supported in a glob; write a regular expression: `/…/`"
                ));
            }
            other => regex.push_str(&regex_lite::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push_str(")$");
    Regex::new(&regex).map_err(|error| error.to_string())
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (self.style, &self.pattern) == (other.style, &other.pattern)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.style == Style::Regex {
            return write!(f, "/{}/", self.pattern.replace('/', "\\/"));
        }
        f.write_str(match self.style {
            Style::Exact => "=",
            Style::Glob => "#",
            _ => "~",
        })?;
        let escaped = self.pattern.replace('\\', "\\\\");
        f.write_str(&escaped.replace(')', "\\)"))
    }
}
