//! Control groups: which version is mounted, and what this process's own group can use.

use super::Answer;
use super::system::{System, text, why};

const ROOT: &str = "/sys/fs/cgroup";
const OWN: &str = "/proc/self/cgroup";
const CGROUP2: u64 = 0x6367_7270;
const TMPFS: u64 = 0x0102_1994;
/// The file system of a v1 controller that is mounted by itself.
const CGROUP1: u64 = 0x0027_e0eb;

/// `v2` if the unified hierarchy is mounted by itself; beside the others it counts as `v1`.
pub(super) fn version(system: &dyn System) -> Answer {
    match system.magic(ROOT) {
        Ok(CGROUP2) => Answer::is("v2", ROOT),
        Ok(TMPFS | CGROUP1) => Answer::is("v1", ROOT),
        Ok(other) => Answer::absent(format!("no cgroups are mounted (magic {other:#x})"), ROOT),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Answer::absent("there is no such folder", ROOT)
        }
        Err(error) => Answer::unknown(why(&error), ROOT),
    }
}

/// The controllers that are available in this process's own group.
pub(super) fn controllers(system: &dyn System) -> Answer {
    let unified = match version(system) {
        answer @ Answer {
            finding: super::Finding::Is(_),
            ..
        } => answer.finding == super::Finding::Is("v2".to_owned()),
        other => return other,
    };
    let groups = match text(system, OWN) {
        Ok(groups) => groups,
        Err(problem) => return Answer::unknown(problem, OWN),
    };
    if !unified {
        let lists = groups.lines().filter_map(|line| line.split(':').nth(1));
        let named = lists.flat_map(|list| list.split(','));
        let controllers: Vec<&str> = named
            .filter(|name| !name.is_empty() && !name.starts_with("name="))
            .collect();
        return Answer::is(controllers.join(" "), OWN);
    }
    let Some(path) = groups.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Answer::unknown("it names no group of the unified hierarchy", OWN);
    };
    let file = format!("{ROOT}{}/cgroup.controllers", path.trim_end_matches('/'));
    match text(system, &file) {
        Ok(list) => Answer::is(
            list.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
            file,
        ),
        Err(problem) => Answer::unknown(problem, file),
    }
}

/// How many bytes the memory controllers above this process leave it; `None` if they set no limit.
pub(super) fn memory_headroom(system: &dyn System) -> Option<u64> {
    let groups = text(system, OWN).ok()?;
    let own = |line: &str, controller: &str| {
        let (list, path) = line.split_once(':')?.1.split_once(':')?;
        let found = list.split(',').any(|name| name == controller);
        found.then(|| path.trim_end_matches('/').to_owned())
    };
    let find = |controller| groups.lines().find_map(|line| own(line, controller));
    let unified = matches!(system.magic(ROOT), Ok(CGROUP2));
    let (mut path, root, files) = if unified {
        (find("")?, ROOT.to_owned(), ["memory.max", "memory.current"])
    } else {
        let files = ["memory.limit_in_bytes", "memory.usage_in_bytes"];
        (find("memory")?, format!("{ROOT}/memory"), files)
    };
    let mut least = None;
    loop {
        let number = |file: &str| -> Option<u64> {
            let value = text(system, &format!("{root}{path}/{file}")).ok()?;
            value.trim().parse().ok()
        };
        if let (Some(limit), Some(used)) = (number(files[0]), number(files[1])) {
            let left = limit.saturating_sub(used);
            least = Some(least.map_or(left, |least: u64| least.min(left)));
        }
        match path.rfind('/') {
            Some(slash) => path.truncate(slash),
            None => return least,
        }
    }
}
