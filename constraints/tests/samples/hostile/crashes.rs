//! Tests whose process crashes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Read as _;
use std::sync::Mutex;

use kata_test::kata_test;
use nix::sys::signal::{Signal, raise};

use super::on_stage;

fn crash() {
    // SAFETY: there is none, and this process is there to die of it.
    unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
}

thread_local! {
    /// Whether the next allocation crashes.
    static CRASHES: Cell<bool> = const { Cell::new(false) };
}

/// Has a lock, as allocators do, while it crashes.
struct Allocator(Mutex<()>);

#[global_allocator]
static ALLOCATOR: Allocator = Allocator(Mutex::new(()));

// SAFETY: this is `System`.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _lock = self.0.lock();
        if CRASHES.replace(false) {
            crash();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) };
    }
}

#[kata_test]
fn null_pointer() {
    if on_stage() {
        crash();
    }
}

#[kata_test]
fn abort() {
    if on_stage() {
        std::process::abort();
    }
}

#[kata_test]
fn killed() {
    if on_stage() {
        raise(Signal::SIGSEGV).expect("a signal");
    }
}

#[kata_test]
fn stack_overflow() {
    #[expect(unconditional_recursion, reason = "it overflows the stack")]
    fn deeper(depth: &[u64]) -> u64 {
        let here = [depth[0] + 1; 64];
        deeper(&here) + here[3]
    }
    if on_stage() {
        println!("{}", deeper(&[0]));
    }
}

fn in_a_thread(body: fn()) {
    std::thread::scope(|scope| scope.spawn(body).join().expect("no panic"));
}

#[kata_test]
fn null_pointer_in_a_thread() {
    if on_stage() {
        in_a_thread(crash);
    }
}

#[kata_test]
fn abort_in_a_thread() {
    if on_stage() {
        in_a_thread(|| std::process::abort());
    }
}

/// The test ends while the thread crashes.
#[kata_test]
fn abort_beside_the_test() {
    if on_stage() {
        let (mut read, write) = std::io::pipe().expect("a pipe");
        nix::unistd::dup2_stderr(&write).expect("standard error");
        std::thread::spawn(|| std::process::abort());
        // The handler has begun once it prints.
        read.read_exact(&mut [0]).expect("its first byte");
        std::mem::forget(read);
    }
}

/// A process that the test forks dies as it is meant to.
#[kata_test]
fn abort_in_a_forked_process() {
    // SAFETY: the process has one thread.
    match unsafe { nix::unistd::fork() }.expect("a process") {
        nix::unistd::ForkResult::Child => std::process::abort(),
        nix::unistd::ForkResult::Parent { child } => {
            let status = nix::sys::wait::waitpid(child, None).expect("its end");
            println!("{status:?}");
            assert!(!on_stage(), "shows the output");
        }
    }
}

#[kata_test]
fn in_the_allocator() {
    if on_stage() {
        CRASHES.set(true);
        drop(vec![std::process::id()]);
    }
}
