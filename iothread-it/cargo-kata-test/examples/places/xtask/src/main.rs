//! `cargo xtask plan`, `cargo xtask test`, `cargo xtask report` and `cargo xtask facts`.

fn main() -> std::process::ExitCode {
    cargo_kata_test::cli::main("cargo xtask")
}
