//! Whose hardware virtualization KVM uses, and why there is no KVM.

use super::System;
use super::stage::NO_NODE;
use crate::facts::Answer;
use crate::facts::answer::Finding;
use crate::facts::{cpu, module};

/// Detects it by the CPUs' features: a CPU has the instructions of one vendor.
pub(in crate::facts) fn vendor(system: &dyn System) -> Result<Answer, Answer> {
    for (feature, vendor) in [("vmx", "intel"), ("svm", "amd")] {
        if let Finding::Is(_) = cpu::feature(feature, system)?.finding {
            return Ok(Answer::is(vendor, format!("{feature} in /proc/cpuinfo")));
        }
    }
    Ok(Answer::absent(
        "the CPUs have neither Intel's nor AMD's virtualization (vmx, svm)",
        "/proc/cpuinfo",
    ))
}

/// Adds to an answer that there is no node why there is none: the CPUs have no virtualization, or the module
/// for them is not loaded.
pub(in crate::facts) fn with_cause(answer: Answer, system: &dyn System) -> Answer {
    if answer.finding != Finding::Absent(NO_NODE.to_owned()) {
        return answer;
    }
    let cause = match vendor(system).map(|vendor| vendor.finding) {
        Ok(Finding::Is(vendor)) => {
            let name = format!("kvm_{vendor}");
            match module::answer(&name, system).map(|module| module.finding) {
                Ok(Finding::Absent(why)) => format!(": module {name} is {why}"),
                _ => format!(", although module {name} is loaded or built in"),
            }
        }
        Ok(Finding::Absent(why)) => format!(": {why}"),
        _ => return answer,
    };
    Answer::absent(format!("{NO_NODE}{cause}"), answer.source)
}
