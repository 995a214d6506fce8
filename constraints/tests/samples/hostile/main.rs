//! Tests that do their worst to their own process, for `tests/real/hostile.rs` to run.
//!
//! They pass by default; the variable `SAMPLE` selects those that fail.
#![expect(
    unsafe_code,
    reason = "a real segfault is one of the things to survive"
)]

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::{env, fs, thread};

use kata_test::kata_test;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{ForkResult, Gid, Uid, fork, geteuid, setgid, setsid, setuid};

kata_test::main!();

/// Returns whether `SAMPLE` selects the failing tests.
fn on_stage() -> bool {
    asked("fail")
}

fn asked(what: &str) -> bool {
    env::var_os("SAMPLE").is_some_and(|sample| sample == what)
}

mod crashes;
mod stops;

mod worst {
    use super::*;

    #[kata_test]
    fn segfault() {
        if on_stage() {
            // SAFETY: there is none, and this process is there to die of it.
            unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
        }
    }

    #[kata_test]
    fn abort() {
        if on_stage() {
            std::process::abort();
        }
    }

    #[kata_test]
    fn read_input() {
        let mut input = String::new();
        let read = std::io::stdin().read_to_string(&mut input);
        read.expect("an input that can be read");
        assert_eq!(input, "");
    }

    /// It fails behind its body, where a test that counts what it leaked would.
    #[kata_test]
    fn fail_at_the_exit() {
        extern "C" fn fail() {
            // SAFETY: _exit has no preconditions.
            unsafe { nix::libc::_exit(7) }
        }
        if on_stage() {
            // SAFETY: the function lives as long as the program.
            unsafe { nix::libc::atexit(fail) };
        }
    }

    #[kata_test(timeout = "700ms")]
    #[expect(
        clippy::zombie_processes,
        reason = "it is the harness that has to clean up"
    )]
    fn infinite_loop() {
        if on_stage() {
            // What it started is to go with it.
            let child = Command::new("sleep").arg("60").spawn().expect("sleep");
            eprintln!("left behind: {}", child.id());
            loop {
                std::hint::spin_loop();
            }
        }
    }

    #[kata_test]
    fn hundred_megabytes() {
        if on_stage() {
            let chunk = [b'x'; 1 << 20];
            let mut out = std::io::stdout().lock();
            out.write_all(b"the beginning\n")
                .expect("a harness that reads");
            for _ in 0..100 {
                out.write_all(&chunk).expect("a harness that reads");
            }
            out.write_all(b"\nthe end\n").expect("a harness that reads");
            panic!("to be shown");
        }
    }

    #[kata_test]
    fn closed_stdout() {
        // Not a descriptor of its own: closing one that others still use is unsound.
        let closed = nix::unistd::close(1);
        println!("into nothing");
        closed.expect("a standard output");
    }

    #[kata_test]
    fn fork_bomb_of_ten() {
        if on_stage() {
            for _ in 0..10 {
                // SAFETY: this process has one thread.
                if let Ok(ForkResult::Child) = unsafe { fork() } {
                    thread::sleep(Duration::from_secs(60));
                    std::process::exit(0);
                }
            }
        }
    }

    #[kata_test(root)]
    fn set_uid() {
        setgid(Gid::from_raw(65534)).expect("setgid");
        setuid(Uid::from_raw(65534)).expect("setuid");
        assert!(!geteuid().is_root());
    }

    #[kata_test]
    fn change_dir() {
        env::set_current_dir("/proc").expect("chdir");
    }

    #[kata_test]
    fn set_variable() {
        // SAFETY: this process has one thread.
        unsafe { env::set_var("HOSTILE", "1") };
    }

    #[kata_test(root, command = "mount")]
    fn unshare_mounts() {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS).expect("unshare");
        mount("--make-rprivate", "/", &[]);
        mount("-t", "tmpfs", &["none", "/mnt"]);
    }
}

fn mount(option: &str, value: &str, rest: &[&str]) {
    let status = Command::new("mount")
        .arg(option)
        .arg(value)
        .args(rest)
        .status();
    assert!(status.expect("mount").success());
}

/// What the tests of `worst` must not have changed for anybody else; its name comes behind theirs.
mod z_untouched {
    use super::*;

    #[kata_test]
    fn everything() {
        assert_ne!(
            env::current_dir().expect("a directory"),
            PathBuf::from("/proc")
        );
        assert_eq!(env::var_os("HOSTILE"), None);
        let parent = nix::unistd::getppid();
        for namespace in ["mnt", "uts"] {
            let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{namespace}"));
            let parents = of(&parent.to_string()).expect("the harness's namespace");
            assert_eq!(of("self").expect("a namespace"), parents);
        }
        println!("standard output is there, as uid {}", geteuid());
    }
}

mod leaves {
    use super::*;

    #[kata_test]
    #[expect(
        clippy::zombie_processes,
        reason = "it is the harness that has to clean up"
    )]
    fn a_process() {
        if on_stage() {
            Command::new("sleep").arg("61").spawn().expect("sleep");
        }
    }

    /// In a session of its own.
    #[kata_test]
    fn a_daemon() {
        if on_stage() {
            let (mut ready, daemon) = std::io::pipe().expect("a pipe");
            // SAFETY: this process has one thread.
            if let Ok(ForkResult::Child) = unsafe { fork() } {
                setsid().expect("setsid");
                let _ = Command::new("sleep").arg("62").spawn();
                std::process::exit(0);
            }
            drop(daemon);
            let _ = ready.read(&mut [0]);
        }
    }

    /// A process that ends at once was not left behind.
    #[kata_test]
    #[expect(
        clippy::zombie_processes,
        reason = "it is the harness that has to clean up"
    )]
    fn nothing_much() {
        Command::new("true").spawn().expect("true");
    }

    #[kata_test(root)]
    fn a_mount() {
        if let Some(folder) = env::var_os("MOUNT_ON") {
            let folder = folder.into_string().expect("text");
            mount("-t", "tmpfs", &["none", &folder]);
        }
    }
}

mod serial {
    use super::*;

    /// Fails if another test is here at the same time, in this process or another.
    fn alone() {
        let Some(folder) = env::var_os("ALONE_IN") else {
            return;
        };
        let here = PathBuf::from(folder).join("here");
        fs::create_dir(&here).expect("nobody else to be here");
        thread::sleep(Duration::from_millis(100));
        fs::remove_dir(&here).expect("to leave");
    }

    #[kata_test(serial = "one")]
    fn a() {
        alone();
    }

    #[kata_test(serial = "one")]
    fn b() {
        alone();
    }

    #[kata_test(serial = "one", timeout = "400ms")]
    fn is_not_limited_while_it_waits() {
        alone();
    }

    /// Holds the group until it is killed, and so does, if it could, what it forks.
    #[kata_test(serial = "one")]
    fn hangs() {
        if asked("hang") {
            // SAFETY: this process has one thread.
            if let Ok(ForkResult::Child) = unsafe { fork() } {
                setsid().expect("setsid");
                let _ = nix::sys::prctl::set_pdeathsig(None);
                thread::sleep(Duration::from_secs(20));
                std::process::exit(0);
            }
            eprintln!("waiting as {}", std::process::id());
            thread::sleep(Duration::from_secs(60));
        }
    }
}

mod unprivileged {
    use super::*;

    /// Whoever runs this: HOME and TMPDIR are this user's own, and so is the process.
    #[kata_test(non_root)]
    fn has_a_home() {
        assert!(!geteuid().is_root());
        for variable in ["HOME", "TMPDIR"] {
            if let Some(folder) = env::var_os(variable) {
                let file = PathBuf::from(folder).join("kata-test-was-here");
                fs::write(&file, "x").expect("a usable folder");
                fs::remove_file(&file).expect("its own file");
            }
        }
        let maps = fs::OpenOptions::new()
            .write(true)
            .open("/proc/self/uid_map");
        maps.expect("a process that is its own");
        println!("home is {:?}", env::var_os("HOME"));
    }

    /// A user by number, in addition to the general one.
    #[kata_test(uid = 4321)]
    fn is_somebody() {
        assert_eq!(geteuid().as_raw(), 4321);
    }

    /// The other needs are judged as that user, who cannot become root.
    #[kata_test(non_root, when = is_root)]
    fn cannot_be_root() {
        unreachable!("it must not run");
    }

    /// Whose session it is shows in groups and variables.
    #[kata_test(non_root)]
    fn has_a_session() {
        let groups = nix::unistd::getgroups().expect("groups");
        println!("groups are {groups:?}");
        for (name, value) in env::vars_os() {
            println!("variable {}={}", name.display(), value.display());
        }
    }

    /// A device that belongs to a supplementary group of the user.
    #[kata_test(non_root, device = "/dev/shm/kata-test-device")]
    fn uses_a_device_of_a_group() {
        fs::read("/dev/shm/kata-test-device").expect("a readable device");
    }

    /// What the harness has open is not for another user.
    #[kata_test(uid = 4321)]
    fn has_no_descriptors_of_the_harness() {
        for entry in fs::read_dir("/proc/self/fd")
            .expect("descriptors")
            .flatten()
        {
            let number = entry.file_name().into_string().expect("a number");
            // SAFETY: asking for the flags of a descriptor changes nothing.
            let flags =
                unsafe { nix::libc::fcntl(number.parse().expect("a number"), nix::libc::F_GETFD) };
            if let Ok(target) = fs::read_link(entry.path())
                && flags & nix::libc::FD_CLOEXEC != 0
            {
                println!("private descriptor {number} is {}", target.display());
            }
        }
    }

    /// A need inside another is a question, not an order.
    #[kata_test(when = is_root)]
    fn is_not_provided() {
        assert!(geteuid().is_root());
    }

    fn is_root() -> kata_test::Verdict {
        let uid = geteuid();
        if uid.is_root() {
            kata_test::Verdict::met("uid is 0", "geteuid")
        } else {
            kata_test::Verdict::unmet("the probe's uid is not 0", "geteuid")
        }
    }
}

mod slow {
    use super::*;

    #[kata_test]
    fn without_a_timeout() {
        if asked("slow") {
            thread::sleep(Duration::from_millis(500));
        }
    }
}

mod forks {
    use super::*;

    /// What its child says comes last, and is not about the test.
    #[kata_test]
    fn a_child_that_skips() {
        if on_stage() {
            let parent = nix::unistd::getpid();
            // SAFETY: this process has one thread.
            if let Ok(ForkResult::Child) = unsafe { fork() } {
                while nix::unistd::getppid() == parent {
                    thread::sleep(Duration::from_millis(1));
                }
                kata_test::skip!("the child found nothing to do");
            }
        }
    }

    struct PanicsWhenDropped;

    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            assert!(!on_stage(), "dropped");
        }
    }

    #[kata_test]
    #[should_panic(expected = "a text")]
    fn a_payload_that_panics() {
        if on_stage() {
            std::panic::panic_any(PanicsWhenDropped);
        }
        panic!("a text");
    }
}

/// A thread that runs before `main`, as allocators and other languages' runtimes have one.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = start_a_thread;

extern "C" fn start_a_thread() {
    if asked("thread") {
        let (say, said) = std::sync::mpsc::channel();
        let named = thread::Builder::new().name("early".to_owned());
        let _ = named.spawn(move || {
            let _ = say.send(());
            thread::sleep(Duration::from_secs(60));
        });
        // It has its name only when it runs.
        let _ = said.recv();
    }
}
