//! Whether KVM works: a few instructions in real mode, each of which KVM has to do something for.

use super::stage::{Failure, Stage};
use super::structures::Regs;
use super::vm::{Exit, PAGE, Vm};

const CODE_PAGE: usize = 1;
const CODE: usize = CODE_PAGE * PAGE;
/// The page that the guest writes to.
const WRITTEN: usize = 2;
/// Behind the guest's memory.
const NO_MEMORY: u64 = 0x8000;
const PORT: u16 = 0x3f8;
/// What the guest's reads return: from the port, and from where there is no memory.
const FROM_PORT: u8 = 0x5a;
const FROM_MMIO: u8 = 0xa7;

/// The guest's program.
#[rustfmt::skip]
const PROGRAM: [u8; 19] = [
    0xba, 0xf8, 0x03,       // mov dx, 0x3f8
    0x00, 0xd8,             // add al, bl
    0xee,                   // out dx, al
    0xec,                   // in al, dx
    0xa2, 0x00, 0x80,       // mov [0x8000], al
    0x8a, 0x16, 0x00, 0x80, // mov dl, [0x8000]
    0x88, 0x16, 0x00, 0x20, // mov [0x2000], dl
    0xf4,                   // hlt
];

/// Runs the program and checks each effect of it.
pub(super) fn check() -> Result<[u64; 4], Failure> {
    let vm = Vm::new()?;
    vm.write(CODE, &PROGRAM);
    vm.change_sregs(|sregs| {
        sregs.segments[0].base = 0;
        sregs.segments[0].selector = 0;
    })?;
    let mut regs = Regs {
        rip: CODE as u64,
        // Bit 1 is always set.
        rflags: 2,
        ..Regs::default()
    };
    (regs.general[0], regs.general[1]) = (2, 3);
    vm.set_regs(&regs)?;
    let out = Exit::Out {
        port: PORT,
        value: 5,
    };
    expect(&vm, Stage::PortOut, out)?;
    expect(&vm, Stage::PortIn, Exit::In { port: PORT })?;
    vm.reply(FROM_PORT);
    let write = Exit::Write {
        address: NO_MEMORY,
        value: FROM_PORT,
    };
    expect(&vm, Stage::MmioWrite, write)?;
    expect(&vm, Stage::MmioRead, Exit::Read { address: NO_MEMORY })?;
    vm.reply(FROM_MMIO);
    expect(&vm, Stage::Halt, Exit::Halt)?;
    let stored = vm.read(WRITTEN * PAGE);
    if stored != FROM_MMIO {
        return Err(Stage::Stored.failed(stored.into()));
    }
    let dirty = vm.dirty_pages()?;
    // A page that is only read may be in the log too.
    if dirty & !(1 << CODE_PAGE) != 1 << WRITTEN {
        return Err(Stage::DirtyPages.failed(dirty as i32));
    }
    check_cpuid(&vm)?;
    Ok([0; 4])
}

/// Runs the guest to its next exit, which has to be this one.
fn expect(vm: &Vm, stage: Stage, expected: Exit) -> Result<(), Failure> {
    let exit = vm.run()?;
    if exit == expected {
        return Ok(());
    }
    Err(stage.failed(exit.code()))
}

/// KVM offers a CPU with a vendor, a floating point unit and a time stamp counter, which all of 64 bits
/// have, and the guest's CPU has the features that were set.
fn check_cpuid(vm: &Vm) -> Result<(), Failure> {
    const FPU_AND_TSC: u32 = 1 | 1 << 4;
    /// These depend on the guest's registers: OSXSAVE, and the APIC.
    const RUNTIME_ECX: u32 = 1 << 27;
    const RUNTIME_EDX: u32 = 1 << 9;
    let (supported, guest) = (vm.supported_cpuid()?, vm.cpuid()?);
    let vendor = supported
        .leaf(0)
        .is_some_and(|leaf| leaf.eax >= 1 && leaf.ebx != 0);
    let features = supported.leaf(1).map_or(0, |leaf| leaf.edx);
    if !vendor || features & FPU_AND_TSC != FPU_AND_TSC {
        return Err(Stage::CpuidFeatures.failed(features as i32));
    }
    let different = match (supported.leaf(1), guest.leaf(1)) {
        (Some(set), Some(has)) => {
            (set.ecx ^ has.ecx) & !RUNTIME_ECX | (set.edx ^ has.edx) & !RUNTIME_EDX
        }
        _ => u32::MAX,
    };
    if different == 0 {
        return Ok(());
    }
    Err(Stage::CpuidOfGuest.failed(different as i32))
}
