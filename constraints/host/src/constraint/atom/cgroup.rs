//! Control groups.

use crate::constraint::atom::Kind;
use crate::constraint::evaluator::Evaluator;
use crate::constraint::text::{is_word, names, one_of, try_const};
use crate::facts::Question;
use crate::verdict::Verdict;

names! { VERSIONS, MEANT, "cgroup hierarchy": "v1" "v2" }

pub(crate) const fn version(version: &'static str) -> Result<Kind, &'static str> {
    let unknown = "expected \"v1\" or \"v2\"";
    Ok(Kind::Cgroup(try_const!(one_of(
        version, VERSIONS, MEANT, unknown
    ))))
}

pub(crate) const fn controller(name: &'static str) -> Result<Kind, &'static str> {
    if is_word(name, b"_") {
        Ok(Kind::CgroupController(name))
    } else {
        Err("expected the name of a cgroup controller, such as \"memory\"")
    }
}

pub(crate) fn decide_controller(name: &str, evaluator: &Evaluator<'_>) -> Verdict {
    evaluator.decide(Question::CgroupControllers, |seen| {
        let has = seen.text.split(' ').any(|controller| controller == name);
        seen.met_if(has, || {
            let list = if seen.text.is_empty() {
                "none"
            } else {
                seen.text
            };
            format!("controllers of this process's cgroup: {list}")
        })
    })
}
