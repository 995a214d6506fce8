//! The way to other hosts.

use super::Answer;
use super::system::{System, text};

const IPV4: &str = "/proc/net/route";
const IPV6: &str = "/proc/net/ipv6_route";

/// Returns the interface of a default route.
pub(super) fn answer(system: &dyn System) -> Result<Answer, Answer> {
    let is = |interface, file| Ok(Answer::is(format!("a default route by {interface}"), file));
    let routes = text(system, IPV4)?;
    if let Some(interface) = routes.lines().find_map(default_of_ipv4) {
        return is(interface, IPV4);
    }
    // A kernel without IPv6 has no such file.
    let routes = text(system, IPV6).unwrap_or_default();
    match routes.lines().find_map(default_of_ipv6) {
        Some(interface) => is(interface, IPV6),
        None => {
            let source = format!("{IPV4}, {IPV6}");
            Ok(Answer::absent("there is no default route", source))
        }
    }
}

/// `eth0 00000000 0102A8C0 0003 0 0 0 00000000 …`: interface, destination, and at the eighth place the mask.
fn default_of_ipv4(line: &str) -> Option<&str> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let is_default = fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000");
    is_default.then(|| fields[0])
}

/// `00…00 00 00…00 00 … eth0`: destination, length of its prefix, and at the end the interface. The one of `lo`
/// rejects.
fn default_of_ipv6(line: &str) -> Option<&str> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let is_zero = |at: usize| {
        fields
            .get(at)
            .is_some_and(|text| text.bytes().all(|b| b == b'0'))
    };
    let interface = *fields.get(9)?;
    (is_zero(0) && is_zero(1) && interface != "lo").then_some(interface)
}
