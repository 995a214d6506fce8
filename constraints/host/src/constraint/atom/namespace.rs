//! Kinds of namespaces.

use crate::constraint::atom::Kind;
use crate::constraint::text::{names, one_of, try_const};

names! {
    NAMESPACES, MEANT, "namespace":
    "cgroup" "ipc" "mnt" "net" "pid" "time" "user" "uts"
}

pub(crate) const fn namespace(kind: &'static str) -> Result<Kind, &'static str> {
    let unknown = "expected one of cgroup, ipc, mnt, net, pid, time, user and uts";
    Ok(Kind::Namespace(try_const!(one_of(
        kind, NAMESPACES, MEANT, unknown
    ))))
}
