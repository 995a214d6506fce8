//! Mounts the first file systems.

use std::fs;

use guest_agent::protocol::TMP_PARAMETER;

use crate::fatal::{Fatal, OrFatal};
use crate::{mount, parameters};

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
        let size = match place {
            "/tmp" => parameters::value(TMP_PARAMETER).map(|size| format!("size={size}")),
            _ => None,
        };
        mount::without_device(kind, place, size.as_deref())
            .or_fatal(|| format!("mount {kind} on {place}"))
    })
}
