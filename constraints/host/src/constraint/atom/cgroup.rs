//! Control groups.

use crate::constraint::atom::Kind;
use crate::constraint::evaluator::Evaluator;
use crate::constraint::text::{Closed, names, try_const, word};
use crate::facts::Question;
use crate::verdict::Verdict;

const VERSIONS: Closed = names! { "cgroup hierarchy", "expected \"v1\" or \"v2\"": "v1" "v2" };

pub(crate) const fn version(version: &'static str) -> Result<Kind, &'static str> {
    Ok(Kind::Cgroup(try_const!(VERSIONS.accept(version))))
}

pub(crate) const fn controller(name: &'static str) -> Result<Kind, &'static str> {
    let problem = "expected the name of a cgroup controller, such as \"memory\"";
    Ok(Kind::CgroupController(try_const!(word(
        name, b"_", problem
    ))))
}

pub(crate) fn decide_controller(name: &str, evaluator: &Evaluator<'_>) -> Verdict {
    evaluator.decide(Question::CgroupControllers, &|seen| {
        let has = seen.text.split(' ').any(|controller| controller == name);
        seen.met_if(has, &|| {
            let list = if seen.text.is_empty() {
                "none"
            } else {
                seen.text
            };
            format!("controllers of this process's cgroup: {list}")
        })
    })
}
