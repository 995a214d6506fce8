//! Blocks QEMU's main loop without using CPU time: it writes the guest's memory to a pipe that nobody reads, and
//! holds QEMU's lock meanwhile.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guest_vm::vm::Vm;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use qmp_client::command::HumanMonitorCommand;

use crate::fixture::soon;

/// More than a pipe holds.
const BYTES: u32 = 1 << 20;

/// How long QEMU may take to begin.
const BEGIN: Duration = Duration::from_secs(60);

/// Does something while the main loop is blocked. `pipe` is a path for the pipe.
pub(super) fn while_blocked<T>(
    vm: &Vm,
    pipe: &Path,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    nix::unistd::mkfifo(pipe, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let command = HumanMonitorCommand {
        command_line: &format!("pmemsave 0 {BYTES} \"{}\"", pipe.display()),
    };
    // QEMU's open waits for a reader, and this one for nobody.
    let reader = File::options()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(pipe)?;
    let done = std::thread::scope(|scope| -> Result<T> {
        let writing = scope.spawn(|| vm.qmp().execute(&command, soon()));
        let done = until_written(&reader).and_then(|()| work());
        // Releases it. After an error, without a reader, QEMU's command fails.
        let read = match &done {
            Ok(_) => File::open(pipe).and_then(|mut file| io::copy(&mut file, &mut io::sink())),
            Err(_) => Ok(0),
        };
        drop(reader);
        let answer = writing.join().expect("it does not panic");
        let done = done?;
        ensure!(read? == u64::from(BYTES), "QEMU answered {:?}", answer?);
        Ok(done)
    });
    std::fs::remove_file(pipe)?;
    done
}

/// Waits until QEMU writes to the pipe.
fn until_written(reader: &File) -> Result<()> {
    let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(BEGIN).context("the limit is too long")?;
    ensure!(
        poll(&mut fds, limit)? > 0,
        "QEMU did not write to the pipe within {} s",
        BEGIN.as_secs()
    );
    Ok(())
}
