//! What tests of VM managers use: KVM, and devices that give a guest its network, sockets and memory.
//!
//! The modules are loaded before the greeting, so that a template contains them.
#![expect(
    unsafe_code,
    reason = "KVM_CREATE_VM, an ioctl that nix has no function for"
)]

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;

use guest_agent::protocol::KVM_PARAMETER;

use crate::console;
use crate::modprobe::Tree;

/// Modules beside that of KVM. A kernel may not have all of them.
const MODULES: [&str; 3] = ["tun", "vhost_net", "vhost_vsock"];

/// Nodes that programs without privileges may use, as udev's rules of distributions have it for most.
const NODES: [&str; 5] = [
    "/dev/kvm",
    "/dev/net/tun",
    "/dev/vhost-net",
    "/dev/vhost-vsock",
    "/dev/userfaultfd",
];

/// Settings, and their values. A kernel may not have all of them.
const SETTINGS: [(&str, &str); 2] = [
    ("/proc/sys/vm/nr_hugepages", "32"),
    ("/proc/sys/vm/unprivileged_userfaultfd", "1"),
];

nix::ioctl_write_int_bad!(
    /// Creates a VM, and returns its descriptor (`KVM_CREATE_VM` of `linux/kvm.h`).
    create_vm,
    nix::request_code_none!(0xae, 0x01)
);

/// Provides all of it if the kernel's command line requests it. A failure is printed to the console, and the
/// constraints of tests report what is missing.
pub(crate) fn provide_if_requested() {
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if is_requested(&command_line) {
        provide();
    }
}

fn is_requested(command_line: &str) -> bool {
    command_line
        .split_whitespace()
        .any(|word| word == KVM_PARAMETER)
}

fn provide() {
    let log = |what: &str, error: &io::Error| console::log(&format!("{what}: {error}"));
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let kvm = module_for(&info);
    if kvm.is_none() {
        console::log("there will be no /dev/kvm: the CPUs have neither vmx nor svm");
    }
    match Tree::of_this_kernel() {
        Ok(tree) => {
            for module in kvm.into_iter().chain(MODULES) {
                if let Err(error) = tree.load(module, "") {
                    log(&format!("cannot load {module}"), &error);
                }
            }
        }
        Err(error) => log("cannot read the list of modules", &error),
    }
    if let Err(error) = keep_a_vm() {
        log("cannot create a VM", &error);
    }
    for (file, value) in SETTINGS {
        match fs::write(file, value) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => log(file, &error),
            _ => {}
        }
    }
    for node in NODES {
        match fs::set_permissions(node, fs::Permissions::from_mode(0o666)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => log(node, &error),
            _ => {}
        }
    }
}

/// Creates a VM that exists as long as the guest.
///
/// With the first VM, and again after the last, the kernel changes code of its scheduler that all CPUs execute.
/// QEMU's emulated CPUs sometimes execute the old code meanwhile, and the kernel panics: "Oops: int3" in
/// `__schedule`. So this happens once, before any test.
fn keep_a_vm() -> io::Result<()> {
    let kvm = match File::open("/dev/kvm") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    // SAFETY: the descriptor is open, and the request takes a number, the type of the VM. The new descriptor is
    // never closed.
    unsafe { create_vm(kvm.as_raw_fd(), 0) }?;
    Ok(())
}

/// The module of KVM for the CPUs that /proc/cpuinfo describes.
fn module_for(cpuinfo: &str) -> Option<&'static str> {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"))?;
    flags.split_whitespace().find_map(|flag| match flag {
        "svm" => Some("kvm_amd"),
        "vmx" => Some("kvm_intel"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    //! **Scope**: texts of the kernel. Guests show that the modules are loaded.

    use super::*;

    #[test]
    fn the_module_follows_from_the_flags() {
        let of = |flags: &str| module_for(&format!("processor\t: 0\nflags\t\t: fpu {flags} pae\n"));
        assert_eq!(of("svm"), Some("kvm_amd"));
        assert_eq!(of("vmx"), Some("kvm_intel"));
        assert_eq!(of("svmx"), None);
        assert_eq!(module_for(""), None);
    }

    #[test]
    fn only_the_whole_word_requests_it() {
        assert!(is_requested("quiet guest_agent.kvm\n"));
        assert!(!is_requested("quiet guest_agent.kvm2 x=guest_agent.kvm"));
    }
}
