//! Whose hardware virtualization KVM uses.

use super::System;
use crate::facts::Answer;
use crate::facts::answer::Finding;
use crate::facts::cpu;

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
