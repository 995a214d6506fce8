//! Control groups.

use crate::constraint::Atom;
use crate::constraint::asked::Asked;
use crate::constraint::text::{is_word, names, one_of};
use crate::facts::Question;
use crate::verdict::Verdict;

names! { VERSIONS, MEANT, "cgroup hierarchy": "v1" "v2" }

pub(crate) const fn version(version: &'static str) -> Result<Atom, &'static str> {
    match one_of(version, VERSIONS, MEANT, "expected \"v1\" or \"v2\"") {
        Ok(version) => Ok(Atom::Cgroup(version)),
        Err(problem) => Err(problem),
    }
}

pub(crate) const fn controller(name: &'static str) -> Result<Atom, &'static str> {
    if is_word(name, b"_") {
        Ok(Atom::CgroupController(name))
    } else {
        Err("expected the name of a cgroup controller, such as \"memory\"")
    }
}

pub(crate) fn judge_controller(name: &str, asked: &Asked<'_>) -> Verdict {
    asked.judge(Question::CgroupControllers, |seen| {
        let has = seen.text.split(' ').any(|controller| controller == name);
        seen.is(has, || {
            let list = if seen.text.is_empty() {
                "none"
            } else {
                seen.text
            };
            format!("the controllers of this process's group are {list}")
        })
    })
}
