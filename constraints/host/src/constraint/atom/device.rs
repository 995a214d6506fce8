//! Device nodes that a test is going to use.

use crate::constraint::atom::Kind;
use crate::constraint::text::{is_word, starts_with};

pub(crate) const fn device(path: &'static str) -> Result<Kind, &'static str> {
    if !starts_with(path, "/dev/") || path.len() == 5 {
        return Err("expected the path of a device, such as \"/dev/vhost-vsock\"");
    }
    if !is_word(path, b"/_-.:,+@") {
        return Err("the path of a device has letters, digits and /_-.:,+@ only");
    }
    let bytes = path.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'.' && at + 1 < bytes.len() && bytes[at + 1] == b'.' {
            return Err("state the path of a device without \"..\"");
        }
        at += 1;
    }
    if starts_with(path, "/dev/watchdog") {
        return Err("opening a watchdog starts it, so a probe cannot: use `module` or `when`");
    }
    Ok(Kind::Device(path))
}
