//! A VM with one CPU and a few pages of memory.
//!
//! It is used in a child that was perhaps forked beside other threads, so nothing here allocates.
#![expect(
    unsafe_code,
    reason = "KVM is spoken to by ioctl(2), mmap(2) and structures of the kernel"
)]

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::libc;

use super::stage::{Failure, Stage};
use super::structures::{
    Cpuid, DirtyLog, IO_DATA, MMIO_DATA, MemoryRegion, REASON, Regs, Sregs, UNION,
};

const KVM: u8 = 0xAE;
const GET_API_VERSION: libc::Ioctl = nix::request_code_none!(KVM, 0x00) as libc::Ioctl;
const CREATE_VM: libc::Ioctl = nix::request_code_none!(KVM, 0x01) as libc::Ioctl;
const CHECK_EXTENSION: libc::Ioctl = nix::request_code_none!(KVM, 0x03) as libc::Ioctl;
const GET_VCPU_MMAP_SIZE: libc::Ioctl = nix::request_code_none!(KVM, 0x04) as libc::Ioctl;
/// The size in this one is that of the header without the entries.
const GET_SUPPORTED_CPUID: libc::Ioctl = nix::request_code_readwrite!(KVM, 0x05, 8) as libc::Ioctl;
const CREATE_VCPU: libc::Ioctl = nix::request_code_none!(KVM, 0x41) as libc::Ioctl;
const GET_DIRTY_LOG: libc::Ioctl =
    nix::request_code_write!(KVM, 0x42, size_of::<DirtyLog>()) as libc::Ioctl;
const SET_USER_MEMORY_REGION: libc::Ioctl =
    nix::request_code_write!(KVM, 0x46, size_of::<MemoryRegion>()) as libc::Ioctl;
const RUN: libc::Ioctl = nix::request_code_none!(KVM, 0x80) as libc::Ioctl;
const SET_REGS: libc::Ioctl = nix::request_code_write!(KVM, 0x82, size_of::<Regs>()) as libc::Ioctl;
const GET_SREGS: libc::Ioctl =
    nix::request_code_read!(KVM, 0x83, size_of::<Sregs>()) as libc::Ioctl;
const SET_SREGS: libc::Ioctl =
    nix::request_code_write!(KVM, 0x84, size_of::<Sregs>()) as libc::Ioctl;

const API_VERSION: i32 = 12;
/// The sizes in these are that of the header without the entries.
const SET_CPUID: libc::Ioctl = nix::request_code_write!(KVM, 0x90, 8) as libc::Ioctl;
const GET_CPUID: libc::Ioctl = nix::request_code_readwrite!(KVM, 0x91, 8) as libc::Ioctl;

const LOG_DIRTY_PAGES: u32 = 1;
const EXIT_IO: u32 = 2;
const EXIT_HLT: u32 = 5;
const EXIT_MMIO: u32 = 6;

pub(super) const PAGE: usize = 4096;
/// The guest's memory, from its address 0.
pub(super) const MEMORY: usize = 5 * PAGE;

/// Why the guest stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// It wrote a byte to an I/O port.
    Out {
        port: u16,
        value: u8,
    },
    /// It reads a byte from an I/O port.
    In {
        port: u16,
    },
    /// It wrote a byte where there is no memory.
    Write {
        address: u64,
        value: u8,
    },
    /// It reads a byte where there is no memory.
    Read {
        address: u64,
    },
    Halt,
    /// Another exit reason of KVM.
    Other(u32),
}

impl Exit {
    /// What a failure says of it: an exit reason that the probes do not know.
    pub(super) fn code(self) -> i32 {
        match self {
            Self::Other(reason) => reason as i32,
            _ => 0,
        }
    }
}

/// The VM. Its memory stays mapped until the process ends.
pub(super) struct Vm {
    kvm: OwnedFd,
    vm: OwnedFd,
    vcpu: OwnedFd,
    memory: *mut u8,
    shared: *mut u8,
    shared_size: usize,
}

/// /dev/kvm, and a VM without a CPU.
fn open() -> Result<(OwnedFd, OwnedFd), Failure> {
    // SAFETY: the path is a C string, and the result is checked before it is owned.
    let kvm = unsafe { libc::open(c"/dev/kvm".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    let kvm = owned(kvm, Stage::Open)?;
    // SAFETY: this ioctl takes 0 and touches no memory of ours.
    let version = check(
        unsafe { libc::ioctl(kvm.as_raw_fd(), GET_API_VERSION, 0) },
        Stage::Open,
    )?;
    if version != API_VERSION {
        return Err(Stage::ApiVersion.failed(version));
    }
    // SAFETY: this ioctl takes a machine type, 0, and touches no memory of ours.
    let vm = unsafe { libc::ioctl(kvm.as_raw_fd(), CREATE_VM, 0) };
    Ok((kvm, owned(vm, Stage::CreateVm)?))
}

/// The capabilities of a VM whose number is below 256, a bit for each.
pub(super) fn capabilities() -> Result<[u64; 4], Failure> {
    let (kvm, vm) = open()?;
    let mut found = [0; 4];
    for number in 0..u64::BITS as usize * found.len() {
        // SAFETY: this ioctl takes a number and touches no memory of ours.
        let mut value = unsafe { libc::ioctl(vm.as_raw_fd(), CHECK_EXTENSION, number) };
        if value < 0 {
            // Before Linux 3.17 only /dev/kvm has this ioctl.
            // SAFETY: as above.
            value = unsafe { libc::ioctl(kvm.as_raw_fd(), CHECK_EXTENSION, number) };
        }
        if value > 0 {
            found[number / 64] |= 1 << (number % 64);
        }
    }
    Ok(found)
}

impl Vm {
    /// Creates the VM, whose writes to memory are logged. Its CPU has all features that KVM supports.
    pub(super) fn new() -> Result<Self, Failure> {
        let (kvm, vm) = open()?;
        let memory = map(MEMORY, None, Stage::Memory)?;
        let region = MemoryRegion {
            slot: 0,
            flags: LOG_DIRTY_PAGES,
            guest_phys_addr: 0,
            memory_size: MEMORY as u64,
            userspace_addr: memory as u64,
        };
        // SAFETY: the kernel reads a `MemoryRegion`; the memory it names stays mapped.
        let done =
            unsafe { libc::ioctl(vm.as_raw_fd(), SET_USER_MEMORY_REGION, &raw const region) };
        check(done, Stage::Memory)?;
        // SAFETY: this ioctl takes the number of the CPU, 0, and touches no memory of ours.
        let vcpu = unsafe { libc::ioctl(vm.as_raw_fd(), CREATE_VCPU, 0) };
        let vcpu = owned(vcpu, Stage::CreateVcpu)?;
        // SAFETY: this ioctl takes 0 and touches no memory of ours.
        let size = unsafe { libc::ioctl(kvm.as_raw_fd(), GET_VCPU_MMAP_SIZE, 0) };
        let shared_size = check(size, Stage::CreateVcpu)?.unsigned_abs() as usize;
        let shared = map(shared_size, Some(vcpu.as_raw_fd()), Stage::CreateVcpu)?;
        let new = Self {
            kvm,
            vm,
            vcpu,
            memory,
            shared,
            shared_size,
        };
        let cpuid = new.supported_cpuid()?;
        // SAFETY: the kernel reads a `Cpuid`.
        let done = unsafe { libc::ioctl(new.vcpu.as_raw_fd(), SET_CPUID, &raw const cpuid) };
        check(done, Stage::SetCpuid)?;
        Ok(new)
    }

    /// Writes to the guest's memory.
    pub(super) fn write(&self, address: usize, bytes: &[u8]) {
        assert!(address + bytes.len() <= MEMORY);
        // SAFETY: the bytes are inside the mapping, which nothing else refers to.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory.add(address), bytes.len()) };
    }

    /// Reads a byte of the guest's memory.
    pub(super) fn read(&self, address: usize) -> u8 {
        assert!(address < MEMORY);
        // SAFETY: the byte is inside the mapping.
        unsafe { self.memory.add(address).read_volatile() }
    }

    /// Changes segments, tables and control registers.
    pub(super) fn change_sregs(&self, change: impl Fn(&mut Sregs)) -> Result<(), Failure> {
        let mut sregs = MaybeUninit::<Sregs>::zeroed();
        // SAFETY: the kernel writes a `Sregs`, whose layout and size the request names.
        let done = unsafe { libc::ioctl(self.vcpu.as_raw_fd(), GET_SREGS, sregs.as_mut_ptr()) };
        check(done, Stage::Registers)?;
        // SAFETY: it was zeroed, then filled, and any bytes are valid for its integers.
        let mut sregs = unsafe { sregs.assume_init() };
        change(&mut sregs);
        // SAFETY: the kernel reads a `Sregs`.
        let done = unsafe { libc::ioctl(self.vcpu.as_raw_fd(), SET_SREGS, &raw const sregs) };
        check(done, Stage::Registers)?;
        Ok(())
    }

    pub(super) fn set_regs(&self, regs: &Regs) -> Result<(), Failure> {
        // SAFETY: the kernel reads a `Regs`, whose layout and size the request names.
        let done = unsafe { libc::ioctl(self.vcpu.as_raw_fd(), SET_REGS, ptr::from_ref(regs)) };
        check(done, Stage::Registers)?;
        Ok(())
    }

    /// Runs the guest until it stops.
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        loop {
            // SAFETY: the guest's memory and the shared page stay mapped until the process ends.
            let done = unsafe { libc::ioctl(self.vcpu.as_raw_fd(), RUN, 0) };
            match check(done, Stage::Run) {
                Ok(_) => return Ok(self.exit()),
                Err(failure) if failure.code == libc::EINTR => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Answers the read that the guest has stopped at.
    pub(super) fn reply(&self, value: u8) {
        let at = match self.shared::<u32>(REASON) {
            EXIT_IO => self.shared::<u64>(IO_DATA) as usize,
            _ => MMIO_DATA,
        };
        if at < self.shared_size {
            // SAFETY: the byte is inside the mapping.
            unsafe { self.shared.add(at).write_volatile(value) };
        }
    }

    /// The pages that were written, a bit for each.
    pub(super) fn dirty_pages(&self) -> Result<u64, Failure> {
        let mut pages: u64 = 0;
        let log = DirtyLog {
            slot: 0,
            padding: 0,
            bitmap: (&raw mut pages) as u64,
        };
        // SAFETY: the kernel reads a `DirtyLog` and writes one word, for there are fewer than 64 pages.
        let done = unsafe { libc::ioctl(self.vm.as_raw_fd(), GET_DIRTY_LOG, &raw const log) };
        check(done, Stage::DirtyLog)?;
        // SAFETY: it is a local variable; the kernel may have changed it.
        Ok(unsafe { (&raw const pages).read_volatile() })
    }

    /// The features of CPUID that KVM offers.
    pub(super) fn supported_cpuid(&self) -> Result<Cpuid, Failure> {
        read_cpuid(&self.kvm, GET_SUPPORTED_CPUID, Stage::Cpuid)
    }

    /// The features of CPUID that the guest has.
    pub(super) fn cpuid(&self) -> Result<Cpuid, Failure> {
        read_cpuid(&self.vcpu, GET_CPUID, Stage::SetCpuid)
    }

    fn exit(&self) -> Exit {
        match self.shared::<u32>(REASON) {
            EXIT_HLT => Exit::Halt,
            EXIT_IO => {
                let (direction, port) = (self.shared::<u8>(UNION), self.shared(UNION + 2));
                let data = self.shared::<u64>(IO_DATA) as usize;
                match direction {
                    1 if data < self.shared_size => Exit::Out {
                        port,
                        value: self.shared(data),
                    },
                    0 => Exit::In { port },
                    _ => Exit::Other(EXIT_IO),
                }
            }
            EXIT_MMIO => {
                let address = self.shared(UNION);
                match self.shared::<u8>(UNION + 20) {
                    0 => Exit::Read { address },
                    _ => Exit::Write {
                        address,
                        value: self.shared(MMIO_DATA),
                    },
                }
            }
            other => Exit::Other(other),
        }
    }

    /// A field of the page that KVM shares with us.
    fn shared<T: Copy + From<u8>>(&self, offset: usize) -> T {
        assert!(offset + size_of::<T>() <= self.shared_size);
        // SAFETY: the field is inside the mapping, and any bytes are valid for an integer.
        unsafe { self.shared.add(offset).cast::<T>().read_unaligned() }
    }
}

fn read_cpuid(fd: &OwnedFd, request: libc::Ioctl, stage: Stage) -> Result<Cpuid, Failure> {
    let mut cpuid = Cpuid::empty();
    // SAFETY: the kernel reads the number of entries, and writes as many at most.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut cpuid) };
    check(done, stage)?;
    Ok(cpuid)
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
        return Err(stage.failed(Errno::last_raw()));
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
        Err(stage.failed(Errno::last_raw()))
    } else {
        Ok(result)
    }
}
