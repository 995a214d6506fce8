//! Where this process runs: beneath which hypervisor, in which container.

use crate::constraint::Atom;
use crate::constraint::asked::Asked;
use crate::constraint::text::{names, one_of};
use crate::facts::Question;
use crate::verdict::Verdict;

names! {
    HYPERVISORS, MEANT, "hypervisor":
    "none" "acrn" "amazon" "apple" "bhyve" "google" "kvm" "microsoft" "oracle" "parallels" "qemu"
    "qnx" "sre" "uml" "vmware" "xen"
}

pub(crate) const fn virt(kind: &'static str) -> Result<Atom, &'static str> {
    let unknown = "expected \"none\" or a hypervisor, such as \"kvm\", \"qemu\" or \"vmware\"";
    match one_of(kind, HYPERVISORS, MEANT, unknown) {
        Ok(kind) => Ok(Atom::Virt(kind)),
        Err(problem) => Err(problem),
    }
}

pub(crate) fn judge_virt(kind: &str, asked: &Asked<'_>) -> Verdict {
    asked.judge(Question::Virt, |seen| {
        seen.is(seen.text == kind, || match seen.text {
            "none" => "this host runs on no hypervisor".to_owned(),
            text => format!("this host runs on {text}"),
        })
    })
}

pub(crate) fn judge_container(asked: &Asked<'_>) -> Verdict {
    asked.judge(Question::Container, |seen| {
        seen.met(|| format!("this is in a container: {}", seen.text))
    })
}
