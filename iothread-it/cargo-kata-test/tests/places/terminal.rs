//! A shell in a guest, at a terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kata_test::kata_test;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use crate::commands::{in_package, target};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The side of a terminal that a person is at.
struct Terminal {
    person: File,
    /// What was shown.
    text: String,
    /// How much of it was looked at.
    seen: usize,
}

impl Terminal {
    /// Makes a terminal. Returns the other side as well.
    fn new() -> Result<(Self, OwnedFd)> {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&person)?;
        unlockpt(&person)?;
        let name = ptsname(&person, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let program = rustix::fs::open(name, flags, rustix::fs::Mode::empty())?;
        let terminal = Self {
            person: person.into(),
            text: String::new(),
            seen: 0,
        };
        Ok((terminal, program))
    }

    fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(tcsetwinsize(&self.person, size)?)
    }

    fn types(&mut self, keys: &str) -> Result<()> {
        Ok(self.person.write_all(keys.as_bytes())?)
    }

    /// Waits until a text is shown.
    fn shows(&mut self, text: &str) -> Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(at) = self.text[self.seen..].find(text) {
                self.seen += at + text.len();
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.person.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::try_from(left)?)? == 0 {
                bail!("{text:?} is not shown: {:?}", self.text);
            }
            let mut bytes = [0; 4096];
            let read = self.person.read(&mut bytes);
            let read = read.with_context(|| format!("{text:?} is not shown: {:?}", self.text))?;
            self.text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }
}

#[kata_test(
    when = crate::artifacts_provided,
    command = "setsid",
    serial = "places-packages",
    timeout = "10m"
)]
fn a_shell_in_a_guest_has_the_callers_terminal() -> Result<()> {
    let (mut terminal, program) = Terminal::new()?;
    terminal.resize(33, 99)?;
    let modes = format!("{:?}", tcgetattr(&program)?);
    let package = target()?;
    let shell = in_package(env!("CARGO_BIN_EXE_cargo-kata-test"), &package)?;
    // A session that the terminal controls.
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(shell.get_program());
    for (name, value) in shell.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .current_dir(&package)
        .env("PS1", "guest$ ")
        .args(["kata-test", "shell", "--place", "vm:bookworm"])
        .args(["--user", "root"])
        .stdin(program.try_clone()?)
        .stdout(program.try_clone()?)
        .stderr(program.try_clone()?);
    let mut shell = command.spawn()?;
    drop(command);
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
    terminal.types("echo =wa''iting=; sleep 1000\n")?;
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
