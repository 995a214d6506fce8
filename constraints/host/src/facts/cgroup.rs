//! Control groups: the mounted version, and the controllers and memory of this process's group.

use super::system::{System, text, why};
use super::{Answer, Finding};

const ROOT: &str = "/sys/fs/cgroup";
const OWN: &str = "/proc/self/cgroup";
const CGROUP2: u64 = 0x6367_7270;
const TMPFS: u64 = 0x0102_1994;
/// The file system of a v1 controller that has a mount of its own.
const CGROUP1: u64 = 0x0027_e0eb;

/// Returns `v2` if only the unified hierarchy is mounted; together with v1 hierarchies it counts as `v1`.
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

/// Returns the controllers of this process's group.
pub(super) fn controllers(system: &dyn System) -> Result<Answer, Answer> {
    let version = version(system);
    let Finding::Is(name) = &version.finding else {
        return Ok(version);
    };
    let groups = text(system, OWN)?;
    if name != "v2" {
        let lists = groups.lines().filter_map(|line| line.split(':').nth(1));
        let named = lists.flat_map(|list| list.split(','));
        let controllers: Vec<&str> = named
            .filter(|name| !name.is_empty() && !name.starts_with("name="))
            .collect();
        return Ok(Answer::is(controllers.join(" "), OWN));
    }
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let unnamed = || Answer::unknown("it names no group of the unified hierarchy", OWN);
    let path = below_root(path.ok_or_else(unnamed)?)?;
    let file = format!("{ROOT}{path}/cgroup.controllers");
    let list = text(system, &file)?;
    let list: Vec<&str> = list.split_ascii_whitespace().collect();
    Ok(Answer::is(list.join(" "), file))
}

/// Returns a group's path without the slash at its end. The path of a process that was moved out of its
/// cgroup namespace begins with `/..`: no mount has its group.
fn below_root(path: &str) -> Result<&str, Answer> {
    if path.split('/').any(|part| part == "..") {
        let text = format!("the group {path} is outside of this process's cgroup namespace");
        return Err(Answer::unknown(text, OWN));
    }
    Ok(path.trim_end_matches('/'))
}

/// The files of a memory controller.
struct MemoryFiles {
    limits: &'static [&'static str],
    used: &'static str,
    /// The line of memory.stat with the inactive page cache.
    cache: &'static str,
}

const MEMORY_V1: MemoryFiles = MemoryFiles {
    limits: &["memory.limit_in_bytes"],
    used: "memory.usage_in_bytes",
    cache: "total_inactive_file ",
};
const MEMORY_V2: MemoryFiles = MemoryFiles {
    limits: &["memory.max", "memory.high"],
    used: "memory.current",
    cache: "inactive_file ",
};

/// Returns how many bytes the limits of this process's groups leave it; `None` without a limit.
pub(super) fn memory_headroom(system: &dyn System) -> Result<Option<u64>, Answer> {
    let Ok(groups) = text(system, OWN) else {
        return Ok(None);
    };
    let unified = matches!(system.magic(ROOT), Ok(CGROUP2));
    let (controller, root, files) = if unified {
        ("", ROOT.to_owned(), MEMORY_V2)
    } else {
        ("memory", format!("{ROOT}/memory"), MEMORY_V1)
    };
    let own = groups.lines().find_map(|line| {
        let (list, path) = line.split_once(':')?.1.split_once(':')?;
        let found = list.split(',').any(|name| name == controller);
        found.then_some(path)
    });
    let Some(own) = own else {
        return Ok(None);
    };
    let own = below_root(own)?;
    // From the group itself up to the root.
    let ancestors = own.rmatch_indices('/').map(|(slash, _)| &own[..slash]);
    let left = std::iter::once(own)
        .chain(ancestors)
        .filter_map(|group| left_in(&format!("{root}{group}"), &files, system));
    Ok(left.min())
}

/// Returns how many bytes are left in one group, if it has a limit. Inactive page cache counts as free, as
/// for kubelet and docker: the kernel reclaims it before it refuses an allocation.
fn left_in(group: &str, files: &MemoryFiles, system: &dyn System) -> Option<u64> {
    let read = |file: &str| text(system, &format!("{group}/{file}")).ok();
    let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
    let limit = files.limits.iter().filter_map(|file| number(file)).min()?;
    let cache = read("memory.stat").and_then(|stat| {
        let line = stat.lines().find_map(|line| line.strip_prefix(files.cache));
        line?.trim().parse().ok()
    });
    let used = number(files.used)?.saturating_sub(cache.unwrap_or(0));
    Some(limit.saturating_sub(used))
}
