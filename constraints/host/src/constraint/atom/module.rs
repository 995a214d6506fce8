//! Names of kernel modules.

use crate::constraint::atom::Kind;
use crate::constraint::text::{try_const, word};

pub(crate) const fn module(name: &'static str) -> Result<Kind, &'static str> {
    let problem = "expected the name of a kernel module, such as \"vhost_net\"";
    Ok(Kind::Module(try_const!(word(name, b"_-", problem))))
}
