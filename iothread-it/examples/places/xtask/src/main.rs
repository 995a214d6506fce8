//! `cargo xtask plan`, `cargo xtask test`, `cargo xtask report` and `cargo xtask facts`.

fn main() -> std::process::ExitCode {
    iothread_it::cli::main("cargo xtask")
}
