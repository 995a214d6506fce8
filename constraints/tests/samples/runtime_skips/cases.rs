//! Tests that skip at run time, compiled under both harnesses.
//!
//! They pass by default; the variable `SAMPLE` selects those that fail.

use std::sync::atomic::{AtomicBool, Ordering};

use kata_test::{Verdict, kata_test, require, skip};

fn on_stage() -> bool {
    std::env::var_os("SAMPLE").is_some_and(|sample| sample == "fail")
}

/// A constraint that is undetermined.
fn broken() -> Verdict {
    assert!(!on_stage(), "the probe broke");
    Verdict::met("nothing to see", "the sample")
}

mod skips {
    use super::*;

    #[kata_test(issue = "x/1")]
    fn by_needs() {
        kata_test::measure("before", 1.0);
        require!(kernel_ge = "2.6");
        require!(
            kernel_ge = "99.1",
            kernel_ge = "2.6",
            command = "no-such-command",
        );
        unreachable!("it must not go on");
    }

    #[kata_test]
    fn by_a_reason() -> Result<(), String> {
        let disks = 0;
        if disks == 0 {
            skip!("{disks} disks\tof\n{} GiB", 3);
        }
        Err("it must not go on".to_owned())
    }

    #[kata_test]
    fn in_a_helper() -> std::io::Result<()> {
        fn disk() -> std::io::Result<u64> {
            require!(command = "no-such-command");
            Ok(0)
        }
        disk().map(drop)
    }

    #[kata_test]
    #[should_panic]
    fn where_a_panic_is_due() {
        skip!("a skip is no panic");
    }

    #[kata_test]
    fn and_cleans_up() {
        struct Disk;
        impl Drop for Disk {
            fn drop(&mut self) {
                println!("the disk is given back");
            }
        }
        let _disk = Disk;
        skip!("no disk is large enough");
    }
}

mod goes_on {
    use super::*;

    #[kata_test]
    fn where_needs_are_met() {
        require!(kernel_ge = "2.6", when = broken);
    }

    /// A test may have threads, so that a child forked from it could inherit a lock that is never released: what a
    /// probe does there is done by a thread, and seen here.
    #[kata_test]
    fn where_a_probe_is_a_thread_of_the_test() {
        static SEEN: AtomicBool = AtomicBool::new(false);
        fn sees() -> Verdict {
            SEEN.store(true, Ordering::Relaxed);
            Verdict::met("seen", "the sample")
        }
        require!(when = sees);
        assert!(SEEN.load(Ordering::Relaxed), "it was another process");
    }

    /// Nothing of ours has to be in scope, and another crate may call itself kata_test.
    #[kata_test]
    fn by_any_path() {
        mod kata_test {}
        ::kata_test::require!(kernel_ge = "2.6");
        let _ = stringify!(kata_test);
    }
}

/// If the user is root, one of them runs as another user, for whom other facts hold than for its harness.
mod users {
    use super::*;

    #[kata_test(root)]
    fn as_root() {
        require!(root);
    }

    #[kata_test(non_root)]
    fn as_somebody_else() {
        require!(non_root);
    }
}

mod fails {
    use super::*;

    #[kata_test]
    fn by_what_cannot_be_told() {
        require!(when = broken, kernel_ge = "2.6");
    }

    #[kata_test]
    fn by_catching_the_skip() {
        if on_stage() {
            let caught = std::panic::catch_unwind(|| skip!("caught"));
            assert!(caught.is_err());
        }
    }

    #[kata_test]
    fn by_another_thread() {
        if on_stage() {
            std::thread::spawn(|| skip!("from another thread"))
                .join()
                .expect("a thread");
        }
    }

    /// What a test leaves for the end of its process can still fail.
    #[kata_test]
    fn by_a_panic_behind_a_skip() {
        struct Breaks;
        impl Drop for Breaks {
            fn drop(&mut self) {
                if on_stage() {
                    std::process::exit(3);
                }
            }
        }
        let _breaks = Breaks;
        if on_stage() {
            skip!("and then it leaves otherwise");
        }
    }
}
