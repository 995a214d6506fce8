//! Networks.

use crate::constraint::atom::Kind;
use crate::constraint::text::{names, one_of, try_const};

names! { KINDS, MEANT, "network": "user" }

pub(crate) const fn network(kind: &'static str) -> Result<Kind, &'static str> {
    let unknown = "expected \"user\"";
    Ok(Kind::Network(try_const!(one_of(
        kind, KINDS, MEANT, unknown
    ))))
}
