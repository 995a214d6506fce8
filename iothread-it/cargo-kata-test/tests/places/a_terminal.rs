//! A terminal that a test types at.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The side of a terminal that a person is at.
pub(crate) struct Terminal {
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

    /// Starts a command in a session that a new terminal controls. Returns the program's side of the terminal as well.
    pub(crate) fn start(command: &Command) -> Result<(Self, OwnedFd, Child)> {
        let (terminal, program) = Self::new()?;
        terminal.resize(33, 99)?;
        let mut session = Command::new("setsid");
        session
            .args(["--ctty", "--wait"])
            .arg(command.get_program());
        session.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            session.current_dir(folder);
        }
        session
            .stdin(program.try_clone()?)
            .stdout(program.try_clone()?)
            .stderr(program.try_clone()?);
        Ok((terminal, program, session.spawn()?))
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(tcsetwinsize(&self.person, size)?)
    }

    /// Returns what is shown up to the end of the line.
    pub(crate) fn rest_of_line(&mut self) -> Result<String> {
        let from = self.seen;
        self.shows("\r\n")?;
        Ok(self.text[from..self.seen].trim_end().to_owned())
    }

    /// Returns the next line that fits.
    pub(crate) fn line(&mut self, what: &str, fits: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            ensure!(Instant::now() < deadline, "no line that fits: {what}");
            let line = self.rest_of_line();
            let line = line.with_context(|| format!("no line that fits: {what}"))?;
            if fits(&line) {
                return Ok(line);
            }
        }
    }

    pub(crate) fn types(&mut self, keys: &str) -> Result<()> {
        Ok(self.person.write_all(keys.as_bytes())?)
    }

    /// Waits until a text is shown.
    pub(crate) fn shows(&mut self, text: &str) -> Result<()> {
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
