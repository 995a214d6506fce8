//! Mounts cgroups: v2, or if the kernel's command line requests it, v1.

use std::fs;
use std::io;

use guest_agent::protocol::CGROUP_V1_PARAMETER;

use crate::{mount, parameters};

const ROOT: &str = "/sys/fs/cgroup";

/// Mounts the hierarchy, or hierarchies.
pub(crate) fn mount_all() -> io::Result<()> {
    if !parameters::has(CGROUP_V1_PARAMETER) {
        return Ok(mount::without_device("cgroup2", ROOT, None)?);
    }
    mount::without_device("tmpfs", ROOT, Some("mode=0755"))?;
    let list = fs::read_to_string("/proc/cgroups")?;
    for name in enabled(&list) {
        let folder = format!("{ROOT}/{name}");
        fs::create_dir(&folder)?;
        if mount::without_device("cgroup", &*folder, Some(name)).is_err() {
            // Linux can be built without a controller's files of v1, and refuses to mount it then.
            fs::remove_dir(&folder)?;
        }
    }
    Ok(())
}

/// Returns the enabled controllers: the fields are name, hierarchy, number of groups, and whether it is.
fn enabled(list: &str) -> impl Iterator<Item = &str> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        (fields.nth(2)? == "1").then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disabled_controllers_are_left_out() {
        let list = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t1\t1\nmemory\t0\t1\t0\nmisc\t0\t1\t1\n";
        assert!(enabled(list).eq(["cpuset", "misc"]));
    }
}
