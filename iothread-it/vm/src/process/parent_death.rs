//! Ties a child's life to ours.
#![expect(
    unsafe_code,
    reason = "code between fork and exec can only be given through pre_exec"
)]

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

/// Has the kernel kill the child when the *thread* that spawns it ends, however it ends.
///
/// The command must therefore be spawned by a thread that lasts.
pub(super) fn parent_dies_first(command: &mut Command) -> &mut Command {
    let parent = getpid();
    let tie = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // If we died before the line above took effect, no signal will ever come.
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
    //! **Scope**: a thread that ends; a process that is killed ends all of its threads.

    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Stdio;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_child_dies_with_the_thread_that_spawned_it() {
        let spawn = || {
            let mut command = Command::new("sleep");
            parent_dies_first(command.arg("60").stdin(Stdio::null()))
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
