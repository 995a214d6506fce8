//! The attribute that states what an early return looks for.

use super::host_check::HostCheck;

/// Returns the attribute for these checks. `is_needed`: the test returns if a check fails, and not if it
/// succeeds. `None` if one of them is no constraint, or nothing is known.
pub(super) fn attribute(checks: &[HostCheck], is_needed: bool) -> Option<String> {
    if checks.is_empty() {
        return None;
    }
    let constraints: Option<Vec<String>> = checks
        .iter()
        .map(|check| constraint(check, is_needed))
        .collect();
    Some(format!("#[kata_test({})]", constraints?.join(", ")))
}

fn constraint(check: &HostCheck, is_needed: bool) -> Option<String> {
    let name = match check {
        HostCheck::User if is_needed => return Some("root".to_owned()),
        HostCheck::User => return Some("non_root".to_owned()),
        HostCheck::Kernel(Some(version)) if is_needed => {
            return Some(format!("kernel_ge = {version:?}"));
        }
        HostCheck::Kernel(Some(version)) => return Some(format!("kernel_lt = {version:?}")),
        HostCheck::Capability(Some(name)) => format!("caps({name:?})"),
        HostCheck::File(path) if path == "/dev/kvm" => "kvm".to_owned(),
        HostCheck::File(path) if path.starts_with("/dev/") => format!("device = {path:?}"),
        HostCheck::Command(Some(name)) => format!("command = {name:?}"),
        HostCheck::Variable(Some(name)) => format!("env = {name:?}"),
        HostCheck::CpuFeature(name) => format!("cpu_feature = {name:?}"),
        HostCheck::Kernel(None)
        | HostCheck::Capability(None)
        | HostCheck::File(_)
        | HostCheck::Command(None)
        | HostCheck::Variable(None)
        | HostCheck::CpuCount
        | HostCheck::ErrorCode
        | HostCheck::ByName => return None,
    };
    Some(if is_needed {
        name
    } else {
        format!("not({name})")
    })
}
