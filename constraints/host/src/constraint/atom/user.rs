//! Who this process is, and what it may do.

use crate::constraint::atom::Kind;
use crate::constraint::evaluator::Evaluator;
use crate::constraint::text::{Closed, names, try_const};
use crate::facts::Question;
use crate::verdict::Verdict;

/// A capability of capabilities(7), by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Capability(usize);

const CAPABILITIES: Closed = names! {
    "capability", "expected a capability of capabilities(7), such as \"CAP_SYS_ADMIN\"":
    "CAP_CHOWN" "CAP_DAC_OVERRIDE" "CAP_DAC_READ_SEARCH" "CAP_FOWNER" "CAP_FSETID" "CAP_KILL"
    "CAP_SETGID" "CAP_SETUID" "CAP_SETPCAP" "CAP_LINUX_IMMUTABLE" "CAP_NET_BIND_SERVICE"
    "CAP_NET_BROADCAST" "CAP_NET_ADMIN" "CAP_NET_RAW" "CAP_IPC_LOCK" "CAP_IPC_OWNER"
    "CAP_SYS_MODULE" "CAP_SYS_RAWIO" "CAP_SYS_CHROOT" "CAP_SYS_PTRACE" "CAP_SYS_PACCT"
    "CAP_SYS_ADMIN" "CAP_SYS_BOOT" "CAP_SYS_NICE" "CAP_SYS_RESOURCE" "CAP_SYS_TIME"
    "CAP_SYS_TTY_CONFIG" "CAP_MKNOD" "CAP_LEASE" "CAP_AUDIT_WRITE" "CAP_AUDIT_CONTROL"
    "CAP_SETFCAP" "CAP_MAC_OVERRIDE" "CAP_MAC_ADMIN" "CAP_SYSLOG" "CAP_WAKE_ALARM"
    "CAP_BLOCK_SUSPEND" "CAP_AUDIT_READ" "CAP_PERFMON" "CAP_BPF" "CAP_CHECKPOINT_RESTORE"
};

pub(crate) const fn capability(name: &'static str) -> Result<Kind, &'static str> {
    Ok(Kind::Cap(Capability(try_const!(CAPABILITIES.index(name)))))
}

impl Capability {
    pub(crate) fn name(self) -> &'static str {
        CAPABILITIES.names[self.0]
    }

    pub(crate) fn decide(self, evaluator: &Evaluator<'_>) -> Verdict {
        evaluator.decide(Question::Capabilities, &|seen| {
            let field = |name: &str| {
                seen.text
                    .split(", ")
                    .find_map(|field| field.strip_prefix(name))
            };
            let effective = field("CapEff ").and_then(|hex| u64::from_str_radix(hex, 16).ok());
            let last: Option<usize> = field("last ").and_then(|last| last.parse().ok());
            let Some(effective) = effective else {
                return seen.undetermined(&|| format!("{:?} is not a capability set", seen.text));
            };
            if last.is_some_and(|last| self.0 > last) {
                return seen.unmet(&|| format!("this kernel does not have {}", self.name()));
            }
            let has = effective >> self.0 & 1 == 1;
            let word = if has { "in" } else { "not in" };
            seen.met_if(has, &|| {
                format!("{word} this thread's effective set: {}", seen.text)
            })
        })
    }
}

/// Decides by the effective uid.
pub(crate) fn uid(evaluator: &Evaluator<'_>, wanted: impl Fn(&str) -> bool) -> Verdict {
    evaluator.decide(Question::EffectiveUid, &|seen| {
        seen.met_if(wanted(seen.text), &|| {
            format!("effective uid is {}", seen.text)
        })
    })
}

/// The user namespace that the kernel starts with, PROC_USER_INIT_INO.
const INITIAL: &str = "user:[4026531837]";

/// Root in the initial user namespace.
pub(crate) fn real_root(evaluator: &Evaluator<'_>) -> Verdict {
    let root = uid(evaluator, |uid| uid == "0");
    if !matches!(root, Verdict::Met(_)) {
        return root;
    }
    evaluator.decide(Question::UserNamespace, &|seen| {
        let initial = seen.text == INITIAL;
        seen.met_if(initial, &|| {
            if initial {
                "effective uid is 0 in the initial user namespace".to_owned()
            } else {
                format!(
                    "effective uid is 0, but not in the initial user namespace: {}",
                    seen.text
                )
            }
        })
    })
}
