//! Architectures and features of CPUs.

use crate::constraint::atom::Kind;
use crate::constraint::text::{is_word, names, one_of, try_const};

names! {
    ARCHS, MEANT, "architecture":
    "aarch64" "arm" "hexagon" "loongarch32" "loongarch64" "m68k" "mips" "mips64" "powerpc"
    "powerpc64" "riscv32" "riscv64" "s390x" "sparc" "sparc64" "wasm32" "x86" "x86_64"
}

pub(crate) const fn arch(name: &'static str) -> Result<Kind, &'static str> {
    let unknown = "expected one of Rust's architectures, such as \"x86_64\" or \"aarch64\"";
    Ok(Kind::Arch(try_const!(one_of(name, ARCHS, MEANT, unknown))))
}

pub(crate) const fn feature(name: &'static str) -> Result<Kind, &'static str> {
    if is_word(name, b"_") {
        Ok(Kind::CpuFeature(name))
    } else {
        Err("expected a CPU feature as /proc/cpuinfo names it, such as \"avx2\" or \"sse4_2\"")
    }
}
