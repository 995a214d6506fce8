//! The tiny guest: 64-bit code, four pages of memory, a counting loop, `hlt`.
//!
//! It runs in a child that was perhaps forked beside other threads, so nothing here allocates.
#![expect(
    unsafe_code,
    reason = "KVM is spoken to by ioctl(2), mmap(2) and structures of the kernel"
)]

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Instant;

use nix::errno::Errno;
use nix::libc;

use super::stage::{Failure, Stage};

const KVM: u8 = 0xAE;
const GET_API_VERSION: libc::Ioctl = nix::request_code_none!(KVM, 0x00) as libc::Ioctl;
const CREATE_VM: libc::Ioctl = nix::request_code_none!(KVM, 0x01) as libc::Ioctl;
const GET_VCPU_MMAP_SIZE: libc::Ioctl = nix::request_code_none!(KVM, 0x04) as libc::Ioctl;
const CREATE_VCPU: libc::Ioctl = nix::request_code_none!(KVM, 0x41) as libc::Ioctl;
const SET_USER_MEMORY_REGION: libc::Ioctl =
    nix::request_code_write!(KVM, 0x46, size_of::<MemoryRegion>()) as libc::Ioctl;
const RUN: libc::Ioctl = nix::request_code_none!(KVM, 0x80) as libc::Ioctl;
const SET_REGS: libc::Ioctl = nix::request_code_write!(KVM, 0x82, size_of::<Regs>()) as libc::Ioctl;
const GET_SREGS: libc::Ioctl =
    nix::request_code_read!(KVM, 0x83, size_of::<Sregs>()) as libc::Ioctl;
const SET_SREGS: libc::Ioctl =
    nix::request_code_write!(KVM, 0x84, size_of::<Sregs>()) as libc::Ioctl;

const API_VERSION: i32 = 12;
const EXIT_HLT: u32 = 5;
/// Where the exit reason stands in the shared page.
const EXIT_REASON_OFFSET: usize = 8;
/// How often the loop runs at most: one run can be disturbed by a busy host, three hardly.
const RUNS: u32 = 3;

const PAGE: usize = 4096;
/// The guest's pages: three levels of page table, then the code.
const PML4: usize = 0;
const PDPT: usize = PAGE;
const PD: usize = 2 * PAGE;
const CODE: usize = 3 * PAGE;
const MEMORY: usize = 4 * PAGE;

const PRESENT_WRITABLE: u64 = 0b11;
const LARGE_PAGE: u64 = 1 << 7;
const CR0_PE_PG: u64 = 1 | (1 << 31);
const CR4_PAE: u64 = 1 << 5;
const EFER_LME_LMA: u64 = (1 << 8) | (1 << 10);

#[repr(C)]
struct MemoryRegion {
    slot: u32,
    flags: u32,
    guest_phys_addr: u64,
    memory_size: u64,
    userspace_addr: u64,
}

#[repr(C)]
#[derive(Default)]
struct Regs {
    general: [u64; 16],
    rip: u64,
    rflags: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Segment {
    base: u64,
    limit: u32,
    selector: u16,
    kind: u8,
    present: u8,
    dpl: u8,
    db: u8,
    s: u8,
    l: u8,
    g: u8,
    avl: u8,
    unusable: u8,
    padding: u8,
}

#[repr(C)]
struct Sregs {
    /// cs, ds, es, fs, gs, ss, tr, ldt.
    segments: [Segment; 8],
    tables: [[u64; 2]; 2],
    cr0: u64,
    cr2: u64,
    cr3: u64,
    cr4: u64,
    cr8: u64,
    efer: u64,
    apic_base: u64,
    interrupt_bitmap: [u64; 4],
}

/// Runs the loop until one run takes at most `enough` nanoseconds, a few times at most, and returns
/// the shortest time in nanoseconds.
pub(super) fn fastest_loop(iterations: u32, enough: u64) -> Result<u64, Failure> {
    // SAFETY: the path is a C string, and the result is checked before it is owned.
    let kvm = unsafe { libc::open(c"/dev/kvm".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    let kvm = owned(kvm, Stage::Open)?;
    // SAFETY: this ioctl takes 0 and touches no memory of ours.
    let version = check(
        unsafe { libc::ioctl(kvm.as_raw_fd(), GET_API_VERSION, 0) },
        Stage::Open,
    )?;
    if version != API_VERSION {
        return Err(Failure {
            stage: Stage::ApiVersion,
            code: version,
        });
    }
    // SAFETY: this ioctl takes a machine type, 0, and touches no memory of ours.
    let vm = owned(
        unsafe { libc::ioctl(kvm.as_raw_fd(), CREATE_VM, 0) },
        Stage::CreateVm,
    )?;
    give_memory(vm.as_raw_fd(), iterations)?;
    // SAFETY: this ioctl takes a number of the CPU, 0, and touches no memory of ours.
    let vcpu = owned(
        unsafe { libc::ioctl(vm.as_raw_fd(), CREATE_VCPU, 0) },
        Stage::CreateVcpu,
    )?;
    // SAFETY: this ioctl takes 0 and touches no memory of ours.
    let size = unsafe { libc::ioctl(kvm.as_raw_fd(), GET_VCPU_MMAP_SIZE, 0) };
    let size = check(size, Stage::CreateVcpu)?.unsigned_abs() as usize;
    let shared = map(size, Some(vcpu.as_raw_fd()), Stage::CreateVcpu)?;
    enter_long_mode(vcpu.as_raw_fd())?;
    let mut fastest = u64::MAX;
    for _ in 0..RUNS {
        fastest = fastest.min(run(vcpu.as_raw_fd(), shared)?);
        if fastest <= enough {
            break;
        }
    }
    Ok(fastest)
}

/// One run of the loop, in nanoseconds.
fn run(vcpu: RawFd, shared: *mut u8) -> Result<u64, Failure> {
    // Bit 1 of the flags is always set.
    let regs = Regs {
        rip: CODE as u64,
        rflags: 2,
        ..Regs::default()
    };
    // SAFETY: the kernel reads a `Regs`, whose layout and size the request names.
    let done = unsafe { libc::ioctl(vcpu, SET_REGS, &raw const regs) };
    check(done, Stage::Registers)?;
    let start = Instant::now();
    loop {
        // SAFETY: the guest's memory and the shared page stay mapped until the process ends.
        match check(unsafe { libc::ioctl(vcpu, RUN, 0) }, Stage::Run) {
            Ok(_) => break,
            Err(failure) if failure.code == libc::EINTR => {}
            Err(failure) => return Err(failure),
        }
    }
    let took = start.elapsed();
    // SAFETY: the mapping is larger than the structure whose field this is, and aligned to a page.
    let reason = unsafe { shared.add(EXIT_REASON_OFFSET).cast::<u32>().read_volatile() };
    if reason != EXIT_HLT {
        return Err(Failure {
            stage: Stage::Exit,
            code: reason as i32,
        });
    }
    Ok(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))
}

/// Maps the guest's pages at its address 0 and fills them.
fn give_memory(vm: RawFd, iterations: u32) -> Result<(), Failure> {
    let memory = map(MEMORY, None, Stage::Memory)?;
    let entry = |at: usize, value: u64| {
        // SAFETY: `at` is one of the page offsets above, all inside the mapping and aligned.
        unsafe { memory.add(at).cast::<u64>().write(value) };
    };
    entry(PML4, PDPT as u64 | PRESENT_WRITABLE);
    entry(PDPT, PD as u64 | PRESENT_WRITABLE);
    entry(PD, PRESENT_WRITABLE | LARGE_PAGE);
    // mov ecx, iterations; again: sub ecx, 1; jnz again; hlt
    let mut code = [0xb9, 0, 0, 0, 0, 0x83, 0xe9, 0x01, 0x75, 0xfb, 0xf4];
    code[1..5].copy_from_slice(&iterations.to_le_bytes());
    // SAFETY: the code is shorter than the page it goes to, which nothing else refers to.
    unsafe { ptr::copy_nonoverlapping(code.as_ptr(), memory.add(CODE), code.len()) };
    let region = MemoryRegion {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: MEMORY as u64,
        userspace_addr: memory as u64,
    };
    // SAFETY: the kernel reads a `MemoryRegion`; the memory it names stays mapped.
    let done = unsafe { libc::ioctl(vm, SET_USER_MEMORY_REGION, &raw const region) };
    check(done, Stage::Memory)?;
    Ok(())
}

/// Sets paging, long mode and a 64-bit code segment.
fn enter_long_mode(vcpu: RawFd) -> Result<(), Failure> {
    let mut sregs = MaybeUninit::<Sregs>::zeroed();
    // SAFETY: the kernel writes a `Sregs`, whose layout and size the request names.
    let done = unsafe { libc::ioctl(vcpu, GET_SREGS, sregs.as_mut_ptr()) };
    check(done, Stage::Registers)?;
    // SAFETY: it was zeroed, then filled, and any bytes are valid for its integers.
    let mut sregs = unsafe { sregs.assume_init() };
    sregs.cr3 = PML4 as u64;
    sregs.cr4 |= CR4_PAE;
    sregs.cr0 |= CR0_PE_PG;
    sregs.efer |= EFER_LME_LMA;
    let data = Segment {
        base: 0,
        limit: u32::MAX,
        selector: 2 << 3,
        kind: 3,
        present: 1,
        dpl: 0,
        db: 1,
        s: 1,
        l: 0,
        g: 1,
        avl: 0,
        unusable: 0,
        padding: 0,
    };
    sregs.segments[1..6].fill(data);
    sregs.segments[0] = Segment {
        selector: 1 << 3,
        kind: 11,
        db: 0,
        l: 1,
        ..data
    };
    // SAFETY: the kernel reads a `Sregs`.
    let done = unsafe { libc::ioctl(vcpu, SET_SREGS, &raw const sregs) };
    check(done, Stage::Registers)?;
    Ok(())
}

/// Maps the descriptor's memory, or new memory, until the process ends.
fn map(size: usize, fd: Option<RawFd>, stage: Stage) -> Result<*mut u8, Failure> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | if fd.is_none() { libc::MAP_ANONYMOUS } else { 0 };
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
    let memory = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size,
            protection,
            flags,
            fd.unwrap_or(-1),
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        return Err(Failure {
            stage,
            code: Errno::last_raw(),
        });
    }
    Ok(memory.cast())
}

fn owned(fd: RawFd, stage: Stage) -> Result<OwnedFd, Failure> {
    let fd = check(fd, stage)?;
    // SAFETY: the call that made the descriptor succeeded, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(result: i32, stage: Stage) -> Result<i32, Failure> {
    if result < 0 {
        Err(Failure {
            stage,
            code: Errno::last_raw(),
        })
    } else {
        Ok(result)
    }
}
