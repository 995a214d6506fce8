//! CPUs, memory, disk space and NUMA nodes that are available to this process.

use super::Answer;
use super::cgroup::memory_headroom;
use super::system::{System, text, why};

pub(super) fn cpus(system: &dyn System) -> Answer {
    let source = "sched_getaffinity and the cgroup's quota";
    match system.cpus() {
        Ok(cpus) => Answer::is(cpus.to_string(), source),
        Err(error) => Answer::unknown(why(&error), source),
    }
}

/// Returns MemAvailable, or less if a cgroup sets a limit.
pub(super) fn memory(system: &dyn System) -> Result<Answer, Answer> {
    const FILE: &str = "/proc/meminfo";
    let info = text(system, FILE)?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    let Some(kib) = kib else {
        return Err(Answer::unknown("no MemAvailable field", FILE));
    };
    let available = kib.saturating_mul(1024);
    Ok(match memory_headroom(system)? {
        Some(left) if left < available => Answer::is(left.to_string(), "the cgroup's memory limit"),
        _ => Answer::is(available.to_string(), FILE),
    })
}

pub(super) fn disk(system: &dyn System) -> Answer {
    let (folder, free) = system.disk_free();
    let source = format!("statvfs of {folder}");
    match free {
        Ok(free) => Answer::is(free.to_string(), source),
        Err(error) => Answer::unknown(why(&error), source),
    }
}

/// Counts the nodes in a list such as `0-1,3`.
pub(super) fn numa_nodes(system: &dyn System) -> Answer {
    const FILE: &str = "/sys/devices/system/node/online";
    let list = match system.read(FILE) {
        Ok(list) => String::from_utf8_lossy(&list).trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Answer::is("1", format!("{FILE} is not there"));
        }
        Err(error) => return Answer::unknown(why(&error), FILE),
    };
    let count = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    let mut counts = list.split(',').map(count);
    match counts.try_fold(0_u64, |sum, one| sum.checked_add(one?)) {
        Some(nodes) => Answer::is(nodes.to_string(), FILE),
        None => Answer::unknown(format!("{list:?} is not a list of nodes"), FILE),
    }
}
