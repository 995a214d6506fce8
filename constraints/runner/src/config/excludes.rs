//! `package-files.exclude`: patterns of files.

use std::path::Path;

use regex_lite::Regex;

/// Patterns of files, relative to the folder of a package.
///
/// A pattern without a slash matches a file or folder of that name at any depth: `target`, `*.iso`. One
/// with a slash matches a path: `tests/data/*.img`. `*` and `?` match no slash, `**` does.
#[derive(Clone, Debug, Default)]
pub struct Excludes {
    patterns: Vec<String>,
    /// One for each pattern.
    compiled: Vec<Regex>,
}

impl PartialEq for Excludes {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

impl Eq for Excludes {}

impl Excludes {
    /// Compiles patterns.
    ///
    /// # Errors
    ///
    /// The index of the pattern that is empty, absolute or too long, and what is wrong with it.
    pub fn new(patterns: Vec<String>) -> Result<Self, (usize, String)> {
        let compile = |(index, pattern): (usize, &String)| {
            compile(pattern).map_err(|problem| (index, problem))
        };
        let compiled: Result<_, _> = patterns.iter().enumerate().map(compile).collect();
        Ok(Self {
            compiled: compiled?,
            patterns,
        })
    }

    /// Returns the patterns.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Returns whether a file or folder is left out. Everything in such a folder is left out too.
    #[must_use]
    pub fn excludes(&self, relative: &Path) -> bool {
        let mut paths = relative.ancestors().filter(|path| *path != Path::new(""));
        paths.any(|path| {
            let text = path.to_string_lossy();
            self.compiled.iter().any(|pattern| pattern.is_match(&text))
        })
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let relative = pattern.trim_end_matches('/');
    if relative.is_empty() || relative.starts_with('/') {
        return Err("a pattern is relative to the package's folder, such as `tests/data`".into());
    }
    // At any depth.
    let mut regex = String::from(if relative.contains('/') {
        "^(?s:"
    } else {
        "^(?s:(.*/)?"
    });
    let mut rest = relative;
    while let Some(character) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**/") {
            regex.push_str("(.*/)?");
            rest = after;
            continue;
        }
        rest = match rest.strip_prefix("**") {
            Some(after) => {
                regex.push_str(".*");
                after
            }
            None => {
                match character {
                    '*' => regex.push_str("[^/]*"),
                    '?' => regex.push_str("[^/]"),
                    other => regex.push_str(&regex_lite::escape(other.encode_utf8(&mut [0; 4]))),
                }
                &rest[character.len_utf8()..]
            }
        };
    }
    regex.push_str(")$");
    Regex::new(&regex).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_and_paths() {
        let table = [
            ("target", "target", true),
            ("target", "a/target/debug/x", true),
            ("target", "targets", false),
            ("*.iso", "images/a.iso", true),
            ("tests/data", "tests/data/a/b", true),
            ("tests/data", "a/tests/data", false),
            ("tests/*.img", "tests/a.img", true),
            ("tests/*.img", "tests/a/b.img", false),
            ("tests/**/*.img", "tests/a/b.img", true),
            ("tests/**/*.img", "tests/b.img", true),
            ("tests/**", "tests", false),
            ("data/", "data", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a.c", "abc", false),
        ];
        for (pattern, path, expected) in table {
            let excludes = Excludes::new(vec![pattern.into()]).unwrap();
            assert_eq!(
                excludes.excludes(Path::new(path)),
                expected,
                "{pattern} {path}"
            );
        }
        let excludes = Excludes::new(vec!["a".into(), "b".into()]).unwrap();
        assert!(excludes.excludes(Path::new("b")) && !excludes.excludes(Path::new("c")));
        assert!(!Excludes::default().excludes(Path::new("target")));
    }

    #[test]
    fn a_pattern_stays_in_the_package() {
        for pattern in ["", "/", "/etc"] {
            let refused = Excludes::new(vec!["target".into(), pattern.into()]);
            assert_eq!(refused.unwrap_err().0, 1, "{pattern}");
        }
    }
}
