//! The state that clones of a template share until they are reseeded: the clock, the state of the random
//! number generator, and the boot ID.

use std::fs::{self, File};
use std::io::{self, Read};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use guest_agent::protocol::{Failure, Identity, Reseed};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use crate::failure::OrFailure;
use crate::{entropy, mount};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The file that is mounted over [`BOOT_ID`], since the kernel's ID cannot be changed.
const OUR_BOOT_ID: &str = "/tmp/boot_id";

/// Mounts a file with the boot ID over the kernel's. This is done at boot, since it would take long in an
/// emulated clone.
pub(crate) fn cover_boot_id() -> io::Result<()> {
    fs::copy(BOOT_ID, OUR_BOOT_ID)?;
    Ok(mount::bind(OUR_BOOT_ID, BOOT_ID)?)
}

/// Reads the boot ID.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string(BOOT_ID)?.trim().to_owned())
}

/// Sets the clock, adds entropy, and generates a boot ID. Returns the ID.
pub(crate) fn reseed(reseed: &Reseed) -> Result<String, Failure> {
    let now = TimeSpec::from_duration(Duration::from_nanos(reseed.realtime_ns));
    clock_settime(ClockId::CLOCK_REALTIME, now).or_failure(|| "set the clock".into())?;
    entropy::add(&reseed.entropy).or_failure(|| "add entropy".into())?;
    // Last, since it depends on the new entropy.
    new_boot_id().or_failure(|| "replace boot_id".into())
}

fn new_boot_id() -> io::Result<String> {
    let id = uuid(random()?);
    fs::write(OUR_BOOT_ID, format!("{id}\n"))?;
    Ok(id)
}

/// Reads all of it.
pub(crate) fn read() -> Result<Identity, Failure> {
    let read = || {
        let realtime = SystemTime::now().duration_since(UNIX_EPOCH);
        let realtime = realtime.map_err(io::Error::other)?.as_nanos();
        Ok::<_, io::Error>(Identity {
            boot_id: boot_id()?,
            random: random()?,
            realtime_ns: u64::try_from(realtime).map_err(io::Error::other)?,
        })
    };
    read().or_failure(|| "read the guest's identity".into())
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Writes a random UUID (version 4 of RFC 9562), the form of the kernel's own id.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::new();
    for (position, byte) in bytes.into_iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_the_kernels_format() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }
}
