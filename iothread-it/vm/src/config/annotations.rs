//! Kata's pod annotations, which override keys of the configuration.

use std::collections::BTreeMap;

use regex_lite::Regex;

use super::Problem;

const PREFIX: &str = "io.katacontainers.config.hypervisor.";
const ENABLE: &str = "io.katacontainers.config.hypervisor.enable_iothreads";
const COUNT: &str = "io.katacontainers.config.hypervisor.indep_iothreads";

/// The key that lists the permitted annotations as regular expressions.
pub(super) const ALLOW_LIST: &str = "enable_annotations";

/// Values from annotations.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    pub(super) enable_iothreads: Option<bool>,
    pub(super) indep_iothreads: Option<i64>,
}

impl Overrides {
    /// Reads the annotations that this crate uses and ignores others. As in Kata, an annotation that the
    /// file does not allow is an error.
    pub(super) fn read(
        annotations: &BTreeMap<String, String>,
        allowed: &[String],
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut reader = Reader {
            annotations,
            allowed,
            problems,
        };
        Self {
            enable_iothreads: reader.value(ENABLE, "\"true\" or \"false\""),
            indep_iothreads: reader.value(COUNT, "an integer"),
        }
    }
}

struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
    allowed: &'a [String],
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn value<T: std::str::FromStr>(&mut self, name: &'static str, takes: &str) -> Option<T> {
        let text = self.annotations.get(name)?;
        if !self.is_allowed(name) {
            self.wrong(
                name,
                format!("is not allowed: it matches no entry of `{ALLOW_LIST}`"),
            );
            return None;
        }
        let value = text.trim().parse().ok();
        if value.is_none() {
            self.wrong(name, format!("is \"{text}\"; expected {takes}"));
        }
        value
    }

    /// An entry matches anywhere in the annotation's name after the prefix. An invalid expression
    /// matches nothing, as in Kata.
    fn is_allowed(&self, name: &str) -> bool {
        let name = name.strip_prefix(PREFIX).unwrap_or(name);
        let matches = |entry: &String| Regex::new(entry).is_ok_and(|entry| entry.is_match(name));
        self.allowed.iter().any(matches)
    }

    fn wrong(&mut self, key: &'static str, message: String) {
        self.problems.push(Problem {
            line: None,
            key,
            message,
        });
    }
}
