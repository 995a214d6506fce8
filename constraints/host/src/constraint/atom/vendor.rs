//! Kernels of a vendor, whose backports the base version does not show.

use std::fmt;

use crate::constraint::atom::Kind;
use crate::constraint::evaluator::Evaluator;
use crate::constraint::kernel::release_in;
use crate::constraint::range::Range;
use crate::constraint::text::{cut, same, try_const};
use crate::facts::Question;
use crate::verdict::Verdict;

/// A vendor's kernels of certain versions: `rhel9 >= 5.14.0-441`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Vendor {
    pub(crate) name: &'static str,
    /// The vendor's release, as far as its kernels carry one.
    pub(crate) release: &'static str,
    range: Range,
}

/// The marker of each vendor's kernels: a word before the vendor's release in uname(2)'s release, or a
/// word in uname(2)'s version.
const TAGGED: [(&str, &str); 6] = [
    ("rhel", "el"),
    ("fedora", "fc"),
    ("amzn", "amzn"),
    ("azl", "azl"),
    ("openeuler", "oe"),
    ("uek", "uek"),
];
const BUILT: [(&str, &str); 2] = [("ubuntu", "Ubuntu"), ("debian", "Debian")];

pub(crate) const fn vendor(text: &'static str) -> Result<Kind, &'static str> {
    let bytes = text.as_bytes();
    let mut letters = 0;
    while letters < bytes.len() && bytes[letters].is_ascii_lowercase() {
        letters += 1;
    }
    let mut digits = letters;
    while digits < bytes.len() && bytes[digits].is_ascii_digit() {
        digits += 1;
    }
    let (name, release) = (cut(text, 0, letters), cut(text, letters, digits));
    let range = cut(text, digits, bytes.len()).trim_ascii();
    let range = try_const!(Range::of_kernels(range));
    let (tagged, built) = (find(name, &TAGGED).is_some(), find(name, &BUILT).is_some());
    if tagged && release.is_empty() {
        return Err("state the vendor's release, such as \"rhel9 >= 5.14.0-441\"");
    }
    if built && !release.is_empty() {
        return Err(
            "the kernels of ubuntu and debian do not carry a release: leave the number out",
        );
    }
    if !tagged && !built {
        return Err(
            "unknown vendor; expected rhel, fedora, amzn, azl, openeuler, uek, ubuntu or debian",
        );
    }
    Ok(Kind::VendorKernel(Vendor {
        name,
        release,
        range,
    }))
}

const fn find(name: &str, list: &[(&'static str, &'static str)]) -> Option<&'static str> {
    let mut index = 0;
    while index < list.len() {
        if same(name, list[index].0) {
            return Some(list[index].1);
        }
        index += 1;
    }
    None
}

impl Vendor {
    /// Met by a kernel of this vendor that is in the range.
    pub(crate) fn decide(&self, evaluator: &Evaluator<'_>) -> Verdict {
        if let Some(word) = find(self.name, &BUILT) {
            let built = evaluator.decide(Question::KernelBuild, &|seen| {
                seen.met_if(seen.text.contains(word), &|| {
                    format!("the kernel was not built by {}: {}", self.name, seen.text)
                })
            });
            if !matches!(built, Verdict::Met(_)) {
                return built;
            }
        }
        evaluator.decide(Question::KernelRelease, &|seen| {
            if !self.carries(seen.text) {
                return seen.unmet(&|| {
                    format!(
                        "kernel {} is not a {}{} kernel",
                        seen.text, self.name, self.release
                    )
                });
            }
            release_in(&self.range, seen)
        })
    }

    /// Returns whether a release has the vendor's mark: `.el9`, `.el9_2`, but not Oracle's `.el9uek`.
    fn carries(&self, release: &str) -> bool {
        let Some(word) = find(self.name, &TAGGED) else {
            return true;
        };
        let mark = format!("{word}{}", self.release);
        release
            .split(['.', '-', '_', '+'])
            .any(|field| match self.name {
                "uek" => field == format!("el{}uek", self.release),
                _ => field == mark,
            })
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "vendor_kernel {}{} {}",
            self.name, self.release, self.range
        )
    }
}

#[cfg(test)]
mod tests {
    //! Scope: marks and texts. Verdicts together with `kernel_ge` are tested with the made-up hosts.

    use super::*;

    fn read(text: &'static str) -> Result<Vendor, &'static str> {
        match vendor(text)? {
            Kind::VendorKernel(vendor) => Ok(vendor),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_vendor_marker_is_a_field_of_the_release() {
        let carries = |vendor, release| read(vendor).expect(vendor).carries(release);
        assert!(carries("rhel9 >= 5.14", "5.14.0-427.el9.x86_64"));
        assert!(carries("rhel8 >= 4.18", "4.18.0-553.el8_10.x86_64"));
        assert!(carries("fedora40 >= 6.8", "6.8.5-301.fc40.x86_64"));
        assert!(carries("uek8 >= 5.15", "5.15.0-100.96.32.el8uek.x86_64"));
        assert!(!carries("rhel8 >= 5.15", "5.15.0-100.96.32.el8uek.x86_64"));
        assert!(!carries("rhel9 >= 5.14", "5.14.0-427.el90.x86_64"));
        assert!(!carries("rhel9 >= 5.14", "6.1.0-18-amd64"));
    }

    #[test]
    fn malformed_texts_are_refused() {
        for text in [
            "",
            "rhel9",
            "rhel >= 5.14",
            "ubuntu22 >= 5.15",
            "plan9 >= 4",
            "rhel9 5.14",
            "rhel9 >= x",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
