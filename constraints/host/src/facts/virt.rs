//! The hypervisor that this host runs on. Containers are another question.

use super::Answer;
use super::system::{Hypervisor, System, text};

/// The signatures of hypervisors in their CPUID leaf.
const SIGNATURES: [(&str, &str); 12] = [
    ("KVMKVMKVM", "kvm"),
    ("Linux KVM Hv", "kvm"),
    ("TCGTCGTCGTCG", "qemu"),
    ("VMwareVMware", "vmware"),
    ("Microsoft Hv", "microsoft"),
    ("XenVMMXenVMM", "xen"),
    ("bhyve bhyve", "bhyve"),
    ("QNXQVMBSQG", "qnx"),
    ("ACRNACRNACRN", "acrn"),
    ("SRESRESRESRE", "sre"),
    (" lrpepyh  vr", "parallels"),
    ("Apple VZ", "apple"),
];
/// The beginnings of vendors' names in the firmware's tables.
const FIRMWARE: [(&str, &str); 9] = [
    ("QEMU", "qemu"),
    ("KVM", "kvm"),
    ("OpenStack", "kvm"),
    ("Amazon EC2", "amazon"),
    ("Google", "google"),
    ("VMware", "vmware"),
    ("innotek GmbH", "oracle"),
    ("Xen", "xen"),
    ("Parallels", "parallels"),
];
const DMI: [&str; 3] = [
    "/sys/class/dmi/id/sys_vendor",
    "/sys/class/dmi/id/board_vendor",
    "/sys/class/dmi/id/bios_vendor",
];

/// Detects User Mode Linux and Xen by their own files, then others by CPUID, then by the firmware.
pub(super) fn answer(system: &dyn System) -> Answer {
    let cpuinfo = text(system, "/proc/cpuinfo");
    if matches!(&cpuinfo, Ok(info) if info.contains("User Mode Linux")) {
        return Answer::is("uml", "/proc/cpuinfo");
    }
    if text(system, "/sys/hypervisor/type").is_ok_and(|kind| kind.trim() == "xen") {
        return Answer::is("xen", "/sys/hypervisor/type");
    }
    match system.hypervisor() {
        Hypervisor::Signature(signature) => cpuid(&signature, system),
        Hypervisor::None => match firmware(system) {
            // A bare-metal machine of a cloud has the cloud's name, but no hypervisor.
            Some((kind, source)) if kind != "amazon" && kind != "google" => {
                Answer::is(kind, source)
            }
            _ => Answer::is("none", "CPUID"),
        },
        Hypervisor::NoCpuid => without_cpuid(system),
    }
}

fn cpuid(signature: &str, system: &dyn System) -> Answer {
    let known = SIGNATURES.iter().find(|(signed, _)| *signed == signature);
    match (known, firmware(system)) {
        // VirtualBox has KVM's signature; its firmware identifies it.
        (Some((_, "kvm")), Some(("oracle", source))) => Answer::is("oracle", source),
        (Some((_, kind)), _) => Answer::is(*kind, "CPUID"),
        (None, Some((kind, source))) => Answer::is(kind, source),
        (None, None) => Answer::is(format!("unknown {signature:?}"), "CPUID"),
    }
}

fn without_cpuid(system: &dyn System) -> Answer {
    if let Some((kind, source)) = firmware(system) {
        return Answer::is(kind, source);
    }
    for path in [
        "/proc/device-tree/hypervisor/compatible",
        "/sys/firmware/devicetree/base/hypervisor/compatible",
    ] {
        if let Ok(compatible) = text(system, path) {
            let kind = match compatible.trim_end_matches('\0') {
                "linux,kvm" => "kvm",
                text if text.contains("xen") => "xen",
                text if text.contains("vmware") => "vmware",
                _ => "unknown",
            };
            return Answer::is(kind, path);
        }
    }
    let described = |path| system.exists(path).unwrap_or(false);
    if described("/sys/class/dmi/id") || described("/proc/device-tree") {
        Answer::is("none", "DMI and the device tree")
    } else {
        Answer::unknown(
            "neither DMI nor a device tree can be read",
            "/sys/class/dmi/id",
        )
    }
}

fn firmware(system: &dyn System) -> Option<(&'static str, &'static str)> {
    DMI.into_iter().find_map(|file| {
        let vendor = text(system, file).ok()?;
        let known = FIRMWARE
            .iter()
            .find(|(start, _)| vendor.trim().starts_with(start))?;
        Some((known.1, file))
    })
}
