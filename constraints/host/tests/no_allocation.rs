//! A child of a process with threads must not allocate: another thread may hold the allocator's lock.
//!
//! Scope: the probes that fork in any process. Here an allocation in a child ends it.
#![expect(
    unsafe_code,
    reason = "an allocator, and a process that ends in the middle of an allocation"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI32, Ordering};

use kata_test_host::facts::{Finding, Here, Host, Question};
use kata_test_host::sys::{NoAnswer, answer_within};
use nix::unistd::getpid;

/// The exit code of a child that allocates.
const ALLOCATED: i32 = 77;

static PARENT: AtomicI32 = AtomicI32::new(0);

struct InParentOnly;

// SAFETY: it calls the system's allocator, or ends the process.
unsafe impl GlobalAlloc for InParentOnly {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let parent = PARENT.load(Ordering::Relaxed);
        if parent != 0 && getpid().as_raw() != parent {
            // SAFETY: _exit has no preconditions.
            unsafe { nix::libc::_exit(ALLOCATED) };
        }
        // SAFETY: the caller guarantees the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller guarantees the same.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: InParentOnly = InParentOnly;

/// One test, for the parent's id and TMPDIR are the process's.
#[test]
fn no_probe_allocates_in_its_child() {
    PARENT.store(getpid().as_raw(), Ordering::Relaxed);
    let limit = std::time::Duration::from_secs(60);
    // SAFETY: the child ends when it allocates.
    let caught = unsafe { answer_within(limit, |_| drop(std::hint::black_box(Box::new(1)))) };
    let died = NoAnswer::Died(format!("exited with code {ALLOCATED}"));
    assert_eq!(caught, Err(died), "an allocation is not detected");

    // Longer than what the standard library turns into a C string without allocating.
    let long = format!("/{}", "./".repeat(300));
    // SAFETY: no other thread reads the environment.
    unsafe { std::env::set_var("TMPDIR", format!("{long}tmp")) };
    let device: &'static str = format!("{long}dev/null").leak();
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let mut questions = vec![Question::DiskFree, Question::Device(device)];
    questions.extend([Question::Kvm, Question::KvmSpeed, Question::KvmCapabilities]);
    questions.extend(kinds.map(Question::Namespace));
    for question in questions {
        let answer = Here.ask(question);
        if let Finding::Unknown(problem) = &answer.finding {
            assert!(
                !problem.contains("exited with code"),
                "{question}: {problem}"
            );
        }
    }
}
