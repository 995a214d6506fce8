//! Tests that need KVM. On a host without it they run in a VM whose CPU has virtualization.

use std::alloc::{Layout, alloc_zeroed};
use std::time::Instant;

use kata_test::kata_test;
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};

const PAGE: usize = 4096;
const ADDRESS: u64 = 0x1000;

/// A guest that executes this code in real mode. The VM lives as long as its CPU is used.
fn guest(code: &[u8]) -> (VmFd, VcpuFd) {
    let vm = Kvm::new().expect("KVM").create_vm().expect("a VM");
    let layout = Layout::from_size_align(PAGE, PAGE).expect("a page");
    // SAFETY: the layout is not empty, and the memory is never freed. The code is shorter than a page.
    let memory = unsafe { alloc_zeroed(layout) };
    assert!(!memory.is_null() && code.len() <= PAGE);
    // SAFETY: as above.
    unsafe { memory.copy_from_nonoverlapping(code.as_ptr(), code.len()) };
    let region = kvm_userspace_memory_region {
        guest_phys_addr: ADDRESS,
        memory_size: PAGE as u64,
        userspace_addr: memory as u64,
        ..kvm_userspace_memory_region::default()
    };
    // SAFETY: the memory is never freed.
    unsafe { vm.set_user_memory_region(region) }.expect("memory");
    let cpu = vm.create_vcpu(0).expect("a CPU");
    let mut sregs = cpu.get_sregs().expect("registers");
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    cpu.set_sregs(&sregs).expect("registers");
    let mut regs = cpu.get_regs().expect("registers");
    (regs.rip, regs.rflags) = (ADDRESS, 2);
    cpu.set_regs(&regs).expect("registers");
    (vm, cpu)
}

#[kata_test(kvm)]
fn runs_code_in_a_guest() {
    // mov al, 42; out 0x10, al; hlt
    let (_vm, mut cpu) = guest(&[0xb0, 42, 0xe6, 0x10, 0xf4]);
    match cpu.run().expect("an exit") {
        VcpuExit::IoOut(0x10, data) => assert_eq!(data, [42]),
        other => panic!("{other:?}"),
    }
    let halt = cpu.run().expect("an exit");
    assert!(matches!(halt, VcpuExit::Hlt), "{halt:?}");
}

#[kata_test(kvm_cap("KVM_CAP_IRQFD", "KVM_CAP_USER_MEMORY"), non_root)]
fn another_user_may_open_it() {
    Kvm::new().expect("KVM").create_vm().expect("a VM");
}

#[kata_test(kvm_hardware)]
fn needs_fast_kvm() {
    // again: inc ax; jnz again; hlt
    let (_vm, mut cpu) = guest(&[0x40, 0x75, 0xfd, 0xf4]);
    let start = Instant::now();
    let halt = cpu.run().expect("an exit");
    assert!(matches!(halt, VcpuExit::Hlt), "{halt:?}");
    assert!(start.elapsed().as_millis() < 20, "{:?}", start.elapsed());
}

kata_test::main!();
