//! What tests of VM managers use: KVM, and devices that give a guest its network, sockets and memory.
//!
//! The modules are loaded before the greeting, so that a template contains them.
#![expect(unsafe_code, reason = "ioctls of KVM, which nix has no functions for")]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use guest_agent::protocol::KVM_PARAMETER;
use guest_agent::speed;
use nix::errno::Errno;
use nix::libc;

use crate::console;
use crate::modprobe::Tree;
use crate::parameters;

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

nix::ioctl_write_int_bad!(
    /// Creates a virtual CPU, and returns its descriptor.
    create_vcpu,
    nix::request_code_none!(0xae, 0x41)
);

nix::ioctl_write_int_bad!(
    /// Runs a virtual CPU until it exits to us.
    run,
    nix::request_code_none!(0xae, 0x80)
);

/// `KVM_SET_USER_MEMORY_REGION`.
const SET_MEMORY: libc::Ioctl =
    nix::request_code_write!(0xae, 0x46, size_of::<Region>()) as libc::Ioctl;

/// `struct kvm_userspace_memory_region`.
#[repr(C)]
struct Region {
    slot: u32,
    flags: u32,
    address: u64,
    size: u64,
    memory: u64,
}

const PAGE: usize = 4096;
/// The last page below 4 GiB, in which a CPU starts after a reset, and where in it.
const RESET_PAGE: u64 = 0xffff_f000;
const RESET_OFFSET: usize = 0xff0;
/// again: out 0x10, al; jmp again
const PROGRAM: [u8; 4] = [0xe6, 0x10, 0xeb, 0xfc];
/// Where the page that KVM shares with us has the reason of an exit, and that of such an instruction.
const EXIT_REASON: usize = 8;
const EXIT_IO: u32 = 2;

/// Provides all of it if the kernel's command line requests it. A failure is printed to the console, and the
/// constraints of tests report what is missing.
pub(crate) fn provide_if_requested() {
    if parameters::has(KVM_PARAMETER) {
        provide();
    }
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

/// Returns how often in a second a guest can exit to user space; `None` if none was requested or it does not
/// work.
pub(crate) fn exits_per_s() -> Option<u64> {
    if !parameters::has(KVM_PARAMETER) {
        return None;
    }
    match exiting_guest() {
        Ok(mut guest) => speed::per_s(|_| guest.runs()),
        Err(error) => {
            console::log(&format!("cannot measure guests of KVM: {error}"));
            None
        }
    }
}

/// A guest that does nothing but exit.
struct ExitingGuest {
    vcpu: OwnedFd,
    shared: Mapping,
    _vm: OwnedFd,
    _memory: Mapping,
}

fn exiting_guest() -> io::Result<ExitingGuest> {
    let kvm = File::open("/dev/kvm")?;
    // SAFETY: as in `keep_a_vm`; nobody else owns the new descriptor.
    let vm = unsafe { OwnedFd::from_raw_fd(create_vm(kvm.as_raw_fd(), 0)?) };
    let memory = Mapping::new(None)?;
    // SAFETY: the program is inside the page, which nothing else refers to yet.
    unsafe {
        let reset = memory.0.byte_add(RESET_OFFSET).cast::<u8>();
        reset.copy_from_nonoverlapping(PROGRAM.as_ptr(), PROGRAM.len());
    }
    let region = Region {
        slot: 0,
        flags: 0,
        address: RESET_PAGE,
        size: PAGE as u64,
        memory: memory.0 as u64,
    };
    // SAFETY: the kernel reads a `Region`. Its memory is unmapped after the VM is closed.
    let done = unsafe { libc::ioctl(vm.as_raw_fd(), SET_MEMORY, &raw const region) };
    Errno::result(done)?;
    // SAFETY: the request takes a number, and nobody else owns the new descriptor.
    let vcpu = unsafe { OwnedFd::from_raw_fd(create_vcpu(vm.as_raw_fd(), 0)?) };
    let shared = Mapping::new(Some(&vcpu))?;
    Ok(ExitingGuest {
        vcpu,
        shared,
        _vm: vm,
        _memory: memory,
    })
}

impl ExitingGuest {
    /// Runs it to its next exit, and returns whether that was the one expected.
    fn runs(&mut self) -> bool {
        // SAFETY: the request takes 0, and the page that the kernel writes to is mapped.
        let ran = unsafe { run(self.vcpu.as_raw_fd(), 0) };
        // SAFETY: the field is inside the page, and aligned.
        let reason = unsafe {
            self.shared
                .0
                .byte_add(EXIT_REASON)
                .cast::<u32>()
                .read_volatile()
        };
        ran.is_ok() && reason == EXIT_IO
    }
}

/// A page, mapped until it is dropped.
struct Mapping(*mut libc::c_void);

impl Mapping {
    /// Maps the first page of a descriptor, or a new one.
    fn new(of: Option<&OwnedFd>) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let anonymous = if of.is_none() { libc::MAP_ANONYMOUS } else { 0 };
        let flags = libc::MAP_SHARED | anonymous;
        let file = of.map_or(-1, AsRawFd::as_raw_fd);
        // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, file, 0) };
        match page {
            libc::MAP_FAILED => Err(io::Error::last_os_error()),
            page => Ok(Self(page)),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this mapped the page, and nothing refers to it any more.
        unsafe { libc::munmap(self.0, PAGE) };
    }
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
}
