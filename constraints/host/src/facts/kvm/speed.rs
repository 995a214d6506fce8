//! How fast KVM runs a guest: a loop in 64-bit mode.
//!
//! Each iteration compares 16 strings (`pcmpestrm` of SSE 4.2), then counts down from 50. Hardware needs one
//! nanosecond for a comparison and a third of one to count: measured on an AMD EPYC outside of KVM, since
//! a guest runs such instructions as its host does. QEMU without KVM (TCG), which emulates a CPU with KVM in
//! its guest, counts nearly as fast, but calls a function for a comparison, and needs 180 to 400 on the
//! same machine. An interpreter needs about a thousand for every instruction.

use std::time::Instant;

use super::class::Speed;
use super::stage::{Failure, Stage};
use super::structures::{Regs, Segment};
use super::vm::{Exit, PAGE, Vm};

/// The number of iterations: about 35 µs on hardware, so that entering the guest does not count.
const ITERATIONS: u32 = 1000;
/// How often the loop runs at most: one run can be disturbed by a busy host, three hardly.
const RUNS: u32 = 3;

/// The guest's pages: three levels of page table, and the code.
const PML4: usize = 0;
const PDPT: usize = PAGE;
const PD: usize = 2 * PAGE;
const CODE: usize = 3 * PAGE;

const PRESENT_WRITABLE: u64 = 0b11;
const LARGE_PAGE: u64 = 1 << 7;
const CR0_PE_PG: u64 = 1 | (1 << 31);
/// Not write-through, cache disable: set after a reset.
const CR0_NW_CD: u64 = 0b11 << 29;
const CR4_PAE: u64 = 1 << 5;
/// The instructions of SSE may be used.
const CR4_OSFXSR: u64 = 1 << 9;
/// SSE 4.2, in ECX of CPUID's leaf 1.
const SSE4_2: u32 = 1 << 20;
const EFER_LME_LMA: u64 = (1 << 8) | (1 << 10);

/// The guest's program, with the iterations from its second byte.
#[rustfmt::skip]
const PROGRAM: [u8; 47] = [
    0xb9, 0, 0, 0, 0,                   // mov ecx, iterations
    0xb8, 16, 0, 0, 0,                  // mov eax, 16
    0xba, 16, 0, 0, 0,                  // mov edx, 16
    0xbb, 16, 0, 0, 0,                  // again: mov ebx, 16
    0x66, 0x0f, 0x3a, 0x60, 0xca, 0x00, // compare: pcmpestrm xmm1, xmm2, 0
    0x83, 0xeb, 0x01,                   // sub ebx, 1
    0x75, 0xf5,                         // jnz compare
    0xbb, 50, 0, 0, 0,                  // mov ebx, 50
    0x83, 0xeb, 0x01,                   // count: sub ebx, 1
    0x75, 0xfb,                         // jnz count
    0x83, 0xe9, 0x01,                   // sub ecx, 1
    0x75, 0xe1,                         // jnz again
    0xf4,                               // hlt
];

/// Where the program compares, and what has no effect instead.
const COMPARE: usize = 20;
const NOP: [u8; 6] = [0x66, 0x0f, 0x1f, 0x44, 0, 0];

/// Measures the shortest time of one iteration, in nanoseconds.
pub(super) fn measure() -> Result<[u64; 4], Failure> {
    let vm = Vm::new()?;
    let features = vm.supported_cpuid()?.leaf(1).map_or(0, |leaf| leaf.ecx);
    let has_strings = features & SSE4_2 != 0;
    prepare(&vm)?;
    if !has_strings {
        vm.write(CODE + COMPARE, &NOP);
    }
    let mut fastest = u64::MAX;
    for _ in 0..RUNS {
        fastest = fastest.min(run(&vm)?);
        if Speed::of(fastest) == Speed::Hardware {
            break;
        }
    }
    // Counting alone shows an interpreter, and does not tell emulation from hardware.
    if !has_strings && Speed::of(fastest) != Speed::Interprets {
        return Err(Stage::Sse42.failed(0));
    }
    Ok([fastest, 0, 0, 0])
}

fn run(vm: &Vm) -> Result<u64, Failure> {
    // Bit 1 of the flags is always set.
    vm.set_regs(&Regs {
        rip: CODE as u64,
        rflags: 2,
        ..Regs::default()
    })?;
    let start = Instant::now();
    let exit = vm.run()?;
    let took = start.elapsed();
    match exit {
        Exit::Halt => Ok(took.as_nanos() as u64 / u64::from(ITERATIONS)),
        other => Err(Stage::Halt.failed(other.code())),
    }
}

/// Fills the guest's pages; sets paging, long mode and a 64-bit code segment.
fn prepare(vm: &Vm) -> Result<(), Failure> {
    for (at, value) in [
        (PML4, PDPT as u64 | PRESENT_WRITABLE),
        (PDPT, PD as u64 | PRESENT_WRITABLE),
        (PD, PRESENT_WRITABLE | LARGE_PAGE),
    ] {
        vm.write(at, &value.to_le_bytes());
    }
    vm.write(CODE, &PROGRAM);
    vm.write(CODE + 1, &ITERATIONS.to_le_bytes());
    vm.change_sregs(|sregs| {
        sregs.cr3 = PML4 as u64;
        sregs.cr4 |= CR4_PAE | CR4_OSFXSR;
        sregs.cr0 = sregs.cr0 & !CR0_NW_CD | CR0_PE_PG;
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
    })
}
