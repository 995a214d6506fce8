//! Guests of KVM that a test has when its time limit ends it. A guest that makes no progress is the likely cause.

use std::fs;
use std::path::Path;

use nix::unistd::Pid;

/// Returns how many virtual CPUs a process has. Those of other processes, such as QEMU, do not count.
pub(super) fn cpus(pid: Pid) -> usize {
    let files = fs::read_dir(format!("/proc/{pid}/fd"));
    let files = files.into_iter().flatten().flatten();
    files
        .filter(|file| fs::read_link(file.path()).is_ok_and(|target| is_cpu(&target)))
        .count()
}

/// Whether a file of /proc/PID/fd is a virtual CPU: `anon_inode:kvm-vcpu:0`.
fn is_cpu(target: &Path) -> bool {
    let name = target
        .to_str()
        .and_then(|text| text.strip_prefix("anon_inode:"));
    name.is_some_and(|name| name == "kvm-vcpu" || name.starts_with("kvm-vcpu:"))
}

/// Formats the number after "timed out after 1s".
pub(super) fn note(cpus: usize) -> String {
    match cpus {
        0 => String::new(),
        1 => ", with a guest of KVM that has one virtual CPU".to_owned(),
        many => format!(", with guests of KVM that have {many} virtual CPUs"),
    }
}

#[cfg(test)]
mod tests {
    //! Scope: names of files. A guest that loops is in the tests of cargo-kata-test, in a VM with KVM.

    use super::*;

    #[test]
    fn only_virtual_cpus_count() {
        for (target, expected) in [
            ("anon_inode:kvm-vcpu:0", true),
            ("anon_inode:kvm-vcpu", true),
            ("anon_inode:kvm-vcpu-stats:0", false),
            ("anon_inode:kvm-vm", false),
            ("/tmp/anon_inode:kvm-vcpu:0", false),
        ] {
            assert_eq!(is_cpu(Path::new(target)), expected, "{target}");
        }
        assert_eq!(cpus(Pid::this()), 0);
        assert_eq!(note(cpus(Pid::from_raw(i32::MAX))), "");
    }
}
