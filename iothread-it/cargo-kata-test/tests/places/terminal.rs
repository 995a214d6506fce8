//! A shell in a guest, at a terminal.

use anyhow::Result;
use kata_test::kata_test;
use rustix::termios::tcgetattr;

use crate::a_terminal::Terminal;
use crate::commands::{in_package, target};

#[kata_test(
    when = crate::artifacts_provided,
    command = "setsid",
    serial = "places-packages",
    timeout = "10m"
)]
fn a_shell_in_a_guest_has_the_callers_terminal() -> Result<()> {
    let package = target()?;
    let mut command = in_package(env!("CARGO_BIN_EXE_cargo-kata-test"), &package)?;
    command
        .env("PS1", "guest$ ")
        .args(["kata-test", "shell", "--place", "vm:bookworm"])
        .args(["--user", "root"]);
    let (mut terminal, program, mut shell) = Terminal::start(&command)?;
    let modes = format!("{:?}", tcgetattr(&program)?);
    terminal.shows("guest$ ")?;
    // Typed texts are shown as well, so those that are awaited differ from them.
    for (line, answer) in [
        ("echo =$(stty size)=", "=33 99="),
        ("echo =$(tty)=", "=/dev/pts/0="),
        ("echo =$(uname -r)=", "-cloud-amd64="),
    ] {
        terminal.types(&format!("{line}\n"))?;
        terminal.shows(answer)?;
    }
    terminal.resize(44, 111)?;
    terminal.types("while [ \"$(stty size)\" != '44 111' ]; do :; done; echo =re''sized=\n")?;
    terminal.shows("=resized=")?;
    // The program that Ctrl-C ends prints the text itself: before the shell has started a program, Ctrl-C is the
    // shell's, which then goes on waiting for that program.
    terminal.types("sh -c 'echo =wa\"\"iting=; exec sleep 1000'\n")?;
    terminal.shows("=waiting=")?;
    terminal.types("\x03")?;
    terminal.shows("guest$ ")?;
    terminal.types("echo =$?=\n")?;
    terminal.shows("=130=")?;
    terminal.types("exit 7\n")?;
    assert_eq!(shell.wait()?.code(), Some(7));
    assert_eq!(format!("{:?}", tcgetattr(&program)?), modes);
    Ok(())
}
