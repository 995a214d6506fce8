//! Kata's pod annotations, which override the configuration's keys.

use std::collections::BTreeMap;

use super::Problem;

const ENABLE: &str = "io.katacontainers.config.hypervisor.enable_iothreads";
const COUNT: &str = "io.katacontainers.config.hypervisor.indep_iothreads";

/// What the annotations say of the keys that can be overridden.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    pub(super) enable_iothreads: Option<bool>,
    pub(super) indep_iothreads: Option<i64>,
}

impl Overrides {
    /// Reads them. Annotations that are not ours to read are left alone.
    pub(super) fn read(
        annotations: &BTreeMap<String, String>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        Self {
            enable_iothreads: value(annotations, ENABLE, "\"true\" or \"false\"", problems),
            indep_iothreads: value(annotations, COUNT, "a whole number", problems),
        }
    }
}

fn value<T: std::str::FromStr>(
    annotations: &BTreeMap<String, String>,
    name: &'static str,
    takes: &str,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let text = annotations.get(name)?;
    let value = text.trim().parse().ok();
    if value.is_none() {
        problems.push(Problem {
            line: None,
            key: name,
            message: format!("is \"{text}\"; it takes {takes}"),
        });
    }
    value
}
