//! The listings with gdb in `debugging.md`, typed into terminals.

use std::fs;
use std::path::PathBuf;
use std::process::Child;

use anyhow::{Context, Result, ensure};
use guest_vm::scratch::ScratchDir;
use kata_test::kata_test;

use crate::a_terminal::Terminal;
use crate::book::{Block, OwnTest, STARTS, blocks};
use crate::pages::{has_parts, make, shell};
use crate::saved_guests::symbols;

const PAGE: &str = "debugging.md";

/// The listings in their order.
struct Listings {
    test: Block,
    test_in_gdb: Block,
    test_here: Block,
    kernel: Block,
    kernel_in_gdb: Block,
}

impl Listings {
    fn read() -> Result<Self> {
        let mut found = blocks(PAGE)
            .into_iter()
            .filter(|block| OwnTest::of(block).is_some());
        let mut next = || found.next().context("no listing");
        Ok(Self {
            test: next()?,
            test_in_gdb: next()?,
            test_here: next()?,
            kernel: next()?,
            kernel_in_gdb: next()?,
        })
    }
}

/// The reader's package.
struct Reader {
    _folder: ScratchDir,
    package: PathBuf,
}

impl Reader {
    fn new() -> Result<Self> {
        let folder = ScratchDir::new_in(&std::env::temp_dir())?;
        let start = STARTS.iter().find(|start| start.page == PAGE);
        let start = start.context("no package for the page")?;
        let package = folder.path().join(start.package);
        make(start, &package)?;
        fs::create_dir(package.join("gdb"))?;
        // gdb neither breaks lines nor asks.
        let settings = "set width 0\nset height 0\nset confirm off\n";
        fs::write(package.join("gdb/gdbinit"), settings)?;
        Ok(Self {
            _folder: folder,
            package,
        })
    }

    /// Types a command into a new terminal.
    fn start(&self, command: &str) -> Result<Screen> {
        println!("{command}");
        let mut shell = shell(&self.package, command)?;
        shell
            .env("CARGO_PROFILE_DEV_DEBUG", "full")
            .env("XDG_CONFIG_HOME", &self.package)
            .env("TERM", "dumb")
            .env("DEBUGINFOD_URLS", "")
            .env("PS1", "# ");
        let (terminal, _program, process) = Terminal::start(&shell)?;
        Ok(Screen {
            terminal,
            _program,
            process,
        })
    }

    /// Types the command of a listing, and returns the command for gdb that is shown.
    fn start_listing(&self, listing: &Block) -> Result<(Screen, String)> {
        let command = listing.commands().next().context("no command")?;
        let mut screen = self.start(command)?;
        let mut gdb = None;
        for expected in listing.text.lines().skip(1).filter(|line| is_output(line)) {
            let line = screen.shows(expected)?;
            if line.trim_start().starts_with("gdb ") {
                gdb = Some(line);
            }
        }
        Ok((screen, gdb.context("no command for gdb")?))
    }
}

fn is_output(line: &str) -> bool {
    !line.is_empty()
        && !["$ ", "# ", "(gdb) "]
            .iter()
            .any(|start| line.starts_with(start))
}

/// A terminal and the command in it.
struct Screen {
    terminal: Terminal,
    _program: std::os::fd::OwnedFd,
    process: Child,
}

impl Screen {
    /// Waits for a line of a listing.
    fn shows(&mut self, expected: &str) -> Result<String> {
        self.terminal
            .line(expected, |line| has_parts(line, expected))
    }

    /// Types the commands of a listing at gdb's prompt. Calls `continued` when the program runs.
    fn debug(&mut self, listing: &Block, continued: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        for line in listing.text.lines() {
            match line.strip_prefix("(gdb) ") {
                Some(command) => {
                    self.type_to_gdb(command)?;
                    if command == "continue" {
                        self.terminal.shows("Continuing.")?;
                        continued()?;
                    }
                }
                None if is_output(line) => drop(self.shows(line)?),
                None => {}
            }
        }
        Ok(())
    }

    fn type_to_gdb(&mut self, command: &str) -> Result<()> {
        self.terminal.shows("(gdb) ")?;
        self.terminal.types(&format!("{command}\n"))
    }

    fn succeeds(mut self) -> Result<()> {
        let status = self.process.wait()?;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}

#[kata_test(
    when = crate::artifacts_provided,
    command = "setsid",
    command = "gdb",
    serial = "places-packages",
    timeout = "10m"
)]
fn a_test_in_a_vm_and_here() -> Result<()> {
    let (listings, reader) = (Listings::read()?, Reader::new()?);
    let (shell, line) = reader.start_listing(&listings.test)?;
    let mut gdb = reader.start(&line)?;
    gdb.debug(&listings.test_in_gdb, &mut || Ok(()))?;
    gdb.type_to_gdb("continue")?;
    gdb.terminal.shows("exited with code")?;
    gdb.type_to_gdb("quit")?;
    gdb.succeeds()?;
    shell.succeeds()?;

    let command = listings.test_here.commands().next().context("no command")?;
    let mut gdb = reader.start(command)?;
    gdb.debug(&listings.test_here, &mut || Ok(()))?;
    gdb.terminal.shows("exited with code")?;
    gdb.type_to_gdb("quit")?;
    gdb.succeeds()
}

#[kata_test(
    when = crate::artifacts_provided,
    command = "setsid",
    command = "gdb",
    command = "cc",
    serial = "places-packages",
    timeout = "10m"
)]
fn the_kernel_of_a_vm() -> Result<()> {
    let (listings, reader) = (Listings::read()?, Reader::new()?);
    symbols(&reader.package, symbol(&listings.kernel_in_gdb)?)?;
    let (mut shell, line) = reader.start_listing(&listings.kernel)?;
    shell.terminal.shows("# ")?;
    let typed = listings.kernel.text.lines();
    let typed = typed.filter_map(|line| line.strip_prefix("# "));
    let typed: String = typed.flat_map(|line| [line, "\n"]).collect();
    let mut gdb = reader.start(&line)?;
    gdb.debug(&listings.kernel_in_gdb, &mut || {
        shell.terminal.types(&typed)
    })?;
    gdb.type_to_gdb("quit")?;
    gdb.succeeds()?;
    shell.terminal.types("echo =$(uname -n)=; exit\n")?;
    shell.terminal.shows("=renamed=")?;
    shell.succeeds()
}

/// The function of the kernel that a listing names.
fn symbol(listing: &Block) -> Result<&str> {
    let line = listing.text.lines().next();
    let name = line.and_then(|line| line.strip_prefix("(gdb) break *&"));
    name.context("no breakpoint at a function")
}
