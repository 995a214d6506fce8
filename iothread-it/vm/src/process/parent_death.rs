//! Sets the parent-death signal of a child.
#![expect(
    unsafe_code,
    reason = "code between fork and exec can only be given through pre_exec"
)]

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

/// Makes the kernel kill the child when the *thread* that spawns it ends.
///
/// Spawn the command from a thread that lasts.
pub(super) fn set_parent_death_signal(command: &mut Command) -> &mut Command {
    let parent = getpid();
    let tie = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // If the parent ended before the line above took effect, no signal is sent.
        if getppid() != parent {
            return Err(std::io::Error::from(nix::errno::Errno::ESRCH));
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls are
    // allowed: it makes two system calls and allocates nothing.
    unsafe { command.pre_exec(tie) }
}

#[cfg(test)]
mod tests {
    //! **Scope**: a thread that ends. A killed process ends all of its threads.

    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Stdio;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_child_dies_with_the_thread_that_spawned_it() {
        let spawn = || {
            let mut command = Command::new("sleep");
            set_parent_death_signal(command.arg("60").stdin(Stdio::null()))
                .spawn()
                .unwrap()
        };
        let mut child = std::thread::spawn(spawn).join().unwrap();
        let (sender, ended) = channel();
        std::thread::spawn(move || sender.send(child.wait()));
        let status = ended
            .recv_timeout(Duration::from_secs(20))
            .expect("the child has ended");
        assert_eq!(status.unwrap().signal(), Some(Signal::SIGKILL as i32));
    }
}
