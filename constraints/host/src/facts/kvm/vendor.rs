//! Whose hardware virtualization KVM uses, and why there is no KVM.

use super::System;
use super::stage::NO_NODE;
use crate::facts::Answer;
use crate::facts::answer::Finding;
use crate::facts::{cpu, module};

/// Detects it by the CPUs' features: a CPU has the instructions of one vendor.
pub(in crate::facts) fn vendor(system: &dyn System) -> Answer {
    let [intel, amd] = ["vmx", "svm"].map(|feature| cpu::feature(feature, system));
    match (&intel.finding, &amd.finding) {
        (Finding::Is(_), _) => Answer::is("intel", "vmx in /proc/cpuinfo"),
        (_, Finding::Is(_)) => Answer::is("amd", "svm in /proc/cpuinfo"),
        (Finding::Absent(_), Finding::Absent(_)) => Answer::absent(
            "the CPUs have neither Intel's nor AMD's virtualization (vmx, svm)",
            "/proc/cpuinfo",
        ),
        _ => intel,
    }
}

/// Adds to an answer that there is no node why there is none: the CPUs have no virtualization, or the module
/// for them is not loaded.
pub(in crate::facts) fn with_cause(answer: Answer, system: &dyn System) -> Answer {
    if answer.finding != Finding::Absent(NO_NODE.to_owned()) {
        return answer;
    }
    let name = match vendor(system).finding {
        Finding::Is(vendor) => format!("kvm_{vendor}"),
        Finding::Absent(why) => {
            return Answer::absent(format!("{NO_NODE}: {why}"), answer.source);
        }
        Finding::Unknown(_) => return answer,
    };
    match module::answer(&name, system).finding {
        Finding::Absent(why) => {
            Answer::absent(format!("{NO_NODE}: module {name} is {why}"), answer.source)
        }
        _ => Answer::absent(
            format!("{NO_NODE}, although module {name} is loaded or built in"),
            answer.source,
        ),
    }
}
