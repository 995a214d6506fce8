//! Kinds of namespaces.

use crate::constraint::atom::Kind;
use crate::constraint::text::{Closed, names, try_const};

pub(crate) const NAMESPACES: Closed = names! {
    "namespace", "expected one of cgroup, ipc, mnt, net, pid, time, user and uts":
    "cgroup" "ipc" "mnt" "net" "pid" "time" "user" "uts"
};

pub(crate) const fn namespace(kind: &'static str) -> Result<Kind, &'static str> {
    Ok(Kind::Namespace(try_const!(NAMESPACES.accept(kind))))
}
