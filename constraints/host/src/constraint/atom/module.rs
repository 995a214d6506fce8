//! Names of kernel modules.

use crate::constraint::atom::Kind;
use crate::constraint::text::is_word;

pub(crate) const fn module(name: &'static str) -> Result<Kind, &'static str> {
    if is_word(name, b"_-") {
        Ok(Kind::Module(name))
    } else {
        Err("expected the name of a kernel module, such as \"vhost_net\"")
    }
}
