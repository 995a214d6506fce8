//! Mounts the first file systems.

use std::fs;

use nix::mount::{MsFlags, mount};

use crate::fatal::{Fatal, OrFatal};

/// Type and target of each. The kernel creates a device's node in `devtmpfs` before it sends the uevent.
const MOUNTS: [(&str, &str); 4] = [
    ("devtmpfs", "/dev"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("tmpfs", "/tmp"),
];

/// Mounts them all.
pub(crate) fn mount_all() -> Result<(), Fatal> {
    MOUNTS.into_iter().try_for_each(|(kind, place)| {
        fs::create_dir_all(place).or_fatal(|| format!("make {place}"))?;
        mount(
            Some(kind),
            place,
            Some(kind),
            MsFlags::empty(),
            None::<&str>,
        )
        .or_fatal(|| format!("mount {kind} on {place}"))
    })
}
