//! Architectures and features of CPUs.

use crate::constraint::atom::Kind;
use crate::constraint::text::{Closed, names, try_const, word};

const ARCHS: Closed = names! {
    "architecture", "expected one of Rust's architectures, such as \"x86_64\" or \"aarch64\"":
    "aarch64" "arm" "hexagon" "loongarch32" "loongarch64" "m68k" "mips" "mips64" "powerpc"
    "powerpc64" "riscv32" "riscv64" "s390x" "sparc" "sparc64" "wasm32" "x86" "x86_64"
};

pub(crate) const fn arch(name: &'static str) -> Result<Kind, &'static str> {
    Ok(Kind::Arch(try_const!(ARCHS.accept(name))))
}

pub(crate) const fn feature(name: &'static str) -> Result<Kind, &'static str> {
    let problem =
        "expected a CPU feature as /proc/cpuinfo names it, such as \"avx2\" or \"sse4_2\"";
    Ok(Kind::CpuFeature(try_const!(word(name, b"_", problem))))
}
