//! The guest's CPUs.

use std::path::Path;

use crate::sysfs;

/// The kernel's list of online CPUs, such as `0-2,4`.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// Returns the online CPUs.
///
/// # Errors
///
/// If the kernel's list cannot be read.
pub(crate) fn online() -> Result<Vec<u32>, String> {
    let text = sysfs::attribute(Path::new(ONLINE))
        .map_err(|error| format!("cannot read {ONLINE}: {error}"))?;
    parse(&text).ok_or_else(|| format!("{ONLINE} has `{text}`, which is not a list of CPUs"))
}

fn parse(list: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_cpus() {
        assert_eq!(parse("0"), Some(vec![0]));
        assert_eq!(parse("0-2,4,6-7"), Some(vec![0, 1, 2, 4, 6, 7]));
        assert_eq!(parse("0-"), None);
        assert_eq!(parse(""), None);
    }
}
