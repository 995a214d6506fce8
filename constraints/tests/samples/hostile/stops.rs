//! Tests that do not end by themselves, and what SIGTERM does to them.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::*;

extern "C" fn clean_up(_: i32) {
    let text = b"cleaned up\n";
    // SAFETY: write(2) and _exit(2) may be called from a handler, and the text is static.
    unsafe {
        nix::libc::write(1, text.as_ptr().cast(), text.len());
        nix::libc::_exit(0);
    }
}

fn on_sigterm(handler: SigHandler) {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler above makes calls that are safe in a handler.
    unsafe { sigaction(Signal::SIGTERM, &action) }.expect("a handler");
}

fn wait() {
    eprintln!("waiting as {}", std::process::id());
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        thread::park_timeout(Duration::from_secs(60));
    }
}

fn hang(handler: SigHandler) {
    if asked("hang") {
        on_sigterm(handler);
        wait();
    }
}

#[kata_test]
fn handling_sigterm() {
    hang(SigHandler::Handler(clean_up));
}

#[kata_test]
fn ignoring_sigterm() {
    hang(SigHandler::SigIgn);
}

#[kata_test(timeout = "300ms")]
fn in_time_handling_sigterm() {
    hang(SigHandler::Handler(clean_up));
}

#[kata_test(timeout = "300ms")]
fn in_time_ignoring_sigterm() {
    hang(SigHandler::SigIgn);
}

/// Its child takes a while to clean up, as a VM does.
#[kata_test(timeout = "300ms")]
fn in_time_with_a_child() {
    if asked("hang") {
        let script = "trap 'sleep 0.3; echo the child cleaned up; exit' TERM; \
                      while true; do sleep 0.05; done";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .spawn()
            .expect("a shell");
        let _ = child.wait();
    }
}

/// It ends when a file appears.
#[kata_test(timeout = "1s")]
fn in_time_by_itself() {
    if let Some(file) = env::var_os("ENDS_WITH") {
        eprintln!("waiting as {}", std::process::id());
        while !PathBuf::from(&file).exists() {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A harness without CAP_KILL cannot signal it.
#[kata_test(uid = 4321)]
fn as_another_user() {
    hang(SigHandler::SigDfl);
}

#[kata_test(uid = 4321, timeout = "300ms")]
fn in_time_as_another_user() {
    hang(SigHandler::SigDfl);
}

/// Leaves a process that a harness without CAP_KILL cannot signal.
#[kata_test(root, command = "setpriv")]
#[expect(
    clippy::zombie_processes,
    reason = "it is the harness that has to clean up"
)]
fn leaving_another_users_process() {
    if asked("fail") {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=4321", "--clear-groups", "sleep", "63"]);
        let child = command.spawn().expect("setpriv");
        // Until it has become that user.
        while fs::read_to_string(format!("/proc/{}/cmdline", child.id()))
            .is_ok_and(|line| !line.starts_with("sleep"))
        {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
