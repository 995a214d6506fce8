//! The hypervisor and the container that this process runs in.

use crate::constraint::atom::Kind;
use crate::constraint::evaluator::Evaluator;
use crate::constraint::text::{Closed, names, try_const};
use crate::facts::Question;
use crate::verdict::Verdict;

const HYPERVISORS: Closed = names! {
    "hypervisor", "expected \"none\" or a hypervisor, such as \"kvm\", \"qemu\" or \"vmware\"":
    "none" "acrn" "amazon" "apple" "bhyve" "google" "kvm" "microsoft" "oracle" "parallels" "qemu"
    "qnx" "sre" "uml" "vmware" "xen"
};

pub(crate) const fn virt(kind: &'static str) -> Result<Kind, &'static str> {
    Ok(Kind::Virt(try_const!(HYPERVISORS.accept(kind))))
}

pub(crate) fn decide_virt(kind: &str, evaluator: &Evaluator<'_>) -> Verdict {
    evaluator.decide(Question::Virt, &|seen| {
        seen.met_if(seen.text == kind, &|| match seen.text {
            "none" => "no hypervisor detected".to_owned(),
            text => format!("this host runs on {text}"),
        })
    })
}

pub(crate) fn decide_container(evaluator: &Evaluator<'_>) -> Verdict {
    evaluator.decide(Question::Container, &|seen| {
        seen.met(&|| format!("in a container: {}", seen.text))
    })
}
