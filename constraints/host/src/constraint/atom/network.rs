//! Networks.

use crate::constraint::atom::Kind;
use crate::constraint::text::{Closed, names, try_const};

const KINDS: Closed = names! { "network", "expected \"user\"": "user" };

pub(crate) const fn network(kind: &'static str) -> Result<Kind, &'static str> {
    Ok(Kind::Network(try_const!(KINDS.accept(kind))))
}
