//! Names of kernel modules.

use crate::constraint::Atom;
use crate::constraint::text::is_word;

pub(crate) const fn module(name: &'static str) -> Result<Atom, &'static str> {
    if is_word(name, b"_-") {
        Ok(Atom::Module(name))
    } else {
        Err("expected the name of a kernel module, such as \"vhost_net\"")
    }
}
