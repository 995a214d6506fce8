//! QEMU versions, as `-version` prints them.

use std::fmt;

use serde::Deserialize;

/// A QEMU version of at most three parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct QemuVersion {
    /// The major version, `7` in 7.2.22.
    pub major: u32,
    /// The minor version, `2` in 7.2.22.
    pub minor: u32,
    /// The third part, 0 if absent.
    pub micro: u32,
}

impl QemuVersion {
    /// The oldest QEMU that has all that is used here.
    pub const OLDEST: Self = Self::release(7, 2);

    /// The oldest QEMU that emulates `cmpxchg16b` correctly. The flags that 7.2 computes for it can have any bits,
    /// and an interrupt right behind it puts them into effect when it returns. Linux allocates memory with this
    /// instruction: of 98 guests with 6.12, three crashed or lost a hotplug event.
    pub const EMULATES_CMPXCHG16B: Self = Self::release(8, 0);

    /// The oldest QEMU whose `device_add` supports `iothread-vq-mapping`. Older ones silently
    /// ignore it, and the main loop serves the device.
    pub const MAPS_QUEUES: Self = Self::release(9, 2);

    /// The oldest QEMU that maps a file privately, to be written to, without opening it for writing:
    /// its memory backends have `rom`.
    pub const OPENS_RAM_READ_ONLY: Self = Self::release(8, 2);

    /// The oldest QEMU whose SCSI controllers have an `iothread-vq-mapping`.
    pub const MAPS_SCSI_QUEUES: Self = Self::release(10, 0);

    /// The oldest QEMU that survives a client of an export on a thread. 7.2.22 crashes when
    /// that client disconnects: an assertion that it runs in the main loop fails. From 9.0 on the
    /// main loop releases clients.
    pub const EXPORTS_ON_THREADS: Self = Self::release(9, 0);

    const fn release(major: u32, minor: u32) -> Self {
        Self {
            major,
            minor,
            micro: 0,
        }
    }

    /// Finds the version in what `-version` printed.
    ///
    /// Text after the numbers, such as a distribution's suffix or `-rc1`, is ignored.
    #[must_use]
    pub fn parse(printed: &str) -> Option<Self> {
        let text = version_text(printed)?;
        let numbers = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .map_or(text, |end| &text[..end]);
        let mut parts = numbers.split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        let micro = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
        Some(Self {
            major,
            minor,
            micro,
        })
    }
}

/// The rest of the first line that follows the word `version`: `7.2.22 (Debian 1:7.2+dfsg-7)`.
pub fn version_text(printed: &str) -> Option<&str> {
    let (_, rest) = printed
        .lines()
        .find_map(|line| line.split_once("version "))?;
    let rest = rest.trim();
    Some(rest.strip_prefix('v').unwrap_or(rest))
}

impl fmt::Display for QemuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            major,
            minor,
            micro,
        } = self;
        write!(f, "{major}.{minor}.{micro}")
    }
}

#[cfg(test)]
mod tests {
    //! **Scope**: texts only; no QEMU is run.

    use proptest::prelude::*;

    use super::*;

    fn version(major: u32, minor: u32, micro: u32) -> Option<QemuVersion> {
        Some(QemuVersion {
            major,
            minor,
            micro,
        })
    }

    #[test]
    fn distributions_print_versions_differently() {
        let cases = [
            (
                "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright",
                version(7, 2, 22),
            ),
            (
                "QEMU emulator version 10.0.2 (qemu-10.0.2-1.fc43)",
                version(10, 0, 2),
            ),
            (
                "QEMU emulator version 9.2.0-rc1 (v9.2.0-rc1-dirty)",
                version(9, 2, 0),
            ),
            ("QEMU emulator version v8.1", version(8, 1, 0)),
            (
                "warning: something\nQEMU emulator version 6.0.50",
                version(6, 0, 50),
            ),
            ("QEMU emulator version", None),
            ("QEMU emulator version seven", None),
            ("QEMU emulator version 7", None),
            ("", None),
        ];
        for (printed, expected) in cases {
            assert_eq!(QemuVersion::parse(printed), expected, "{printed}");
        }
    }

    #[test]
    fn ten_is_newer_than_seven() {
        assert!(QemuVersion::parse("version 10.0.0") > QemuVersion::parse("version 7.2.0"));
        assert!(QemuVersion::parse("version 7.1.99") < Some(QemuVersion::OLDEST));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(version )?\\PC{0,40}") {
            let _ = QemuVersion::parse(&text);
        }

        #[test]
        fn display_output_parses_to_the_same_version(major in 0..99u32, minor in 0..99u32, micro in 0..99u32) {
            let shown = QemuVersion { major, minor, micro };
            prop_assert_eq!(QemuVersion::parse(&format!("version {shown}")), Some(shown));
        }
    }
}
