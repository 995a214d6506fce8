//! Kata's pod annotations, which override the configuration's keys.

use std::collections::BTreeMap;

use regex_lite::Regex;

use super::Problem;

const PREFIX: &str = "io.katacontainers.config.hypervisor.";
const ENABLE: &str = "io.katacontainers.config.hypervisor.enable_iothreads";
const COUNT: &str = "io.katacontainers.config.hypervisor.indep_iothreads";

/// The file's key that lists, as regular expressions, the annotations a pod may have.
pub(super) const ALLOW_LIST: &str = "enable_annotations";

/// What the annotations say of the keys that can be overridden.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    pub(super) enable_iothreads: Option<bool>,
    pub(super) indep_iothreads: Option<i64>,
}

impl Overrides {
    /// Reads them. Annotations that are not ours to read are left alone. One that the file does not
    /// allow is a problem, as in Kata: a pod must not choose what its host did not offer.
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
            indep_iothreads: reader.value(COUNT, "a whole number"),
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
                format!("is not allowed: no entry of `{ALLOW_LIST}` matches it"),
            );
            return None;
        }
        let value = text.trim().parse().ok();
        if value.is_none() {
            self.wrong(name, format!("is \"{text}\"; it takes {takes}"));
        }
        value
    }

    /// An entry matches anywhere in the annotation's name behind its prefix. One that is no
    /// expression matches nothing, in Kata too.
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
