//! The sample's tests, compiled under both harnesses: `sample` and `plain`.
//!
//! They pass by default; the variable `SAMPLE` selects those that fail.

use std::process::exit;

use kata_test::{Verdict, kata_test};

/// Returns whether `SAMPLE` selects this failing test.
fn on_stage() -> bool {
    std::env::var_os("SAMPLE").is_some_and(|sample| sample == "fail")
}

mod needs {
    use super::*;

    #[kata_test(root)]
    fn root() {}

    #[kata_test(non_root)]
    fn non_root() {}

    #[kata_test(
        kernel_ge = "99.1",
        command = "no-such-command",
        issue = "x/1",
        reason = "for show"
    )]
    fn much() {
        unreachable!("it must not run");
    }

    #[kata_test(when = hearsay, issue = "x/2")]
    fn a_probe() {}

    /// Met while it is listed and unmet while it runs, if `SAMPLE` selects it.
    #[kata_test(when = drifts)]
    fn drift() {}

    #[kata_test(when = fails_on_stage)]
    fn a_broken_probe() {}

    fn hearsay() -> Verdict {
        println!("a probe that prints must not spoil the list");
        Verdict::unmet("nobody has heard of it", "hearsay")
    }

    fn drifts() -> Verdict {
        let phase = std::env::var("NEXTEST_TEST_PHASE").unwrap_or_default();
        if phase == "run" && std::env::var_os("SAMPLE").is_some_and(|sample| sample == "drift") {
            return Verdict::unmet("the phase is run", "NEXTEST_TEST_PHASE");
        }
        Verdict::met("the phase is another", "NEXTEST_TEST_PHASE")
    }

    fn fails_on_stage() -> Verdict {
        assert!(!on_stage(), "the probe broke");
        Verdict::met("nothing to see", "the sample")
    }
}

mod passes {
    use super::*;

    #[kata_test]
    fn with_measures() {
        println!("captured, and thrown away");
        std::thread::spawn(|| kata_test::measure("attach_ms", 1.0))
            .join()
            .expect("a thread");
        kata_test::measure("attach_ms", 12.5);
        kata_test::measure("count", 3.0);
    }

    #[kata_test]
    fn with_a_result() -> Result<(), String> {
        Ok(())
    }

    #[kata_test]
    #[should_panic]
    fn by_panicking() {
        panic!("as it should");
    }

    #[kata_test]
    #[should_panic(expected = "should")]
    fn by_panicking_so() {
        panic!("as it {}", "should");
    }

    #[kata_test::test(kernel_ge = "2.6")]
    fn under_the_other_name() {}
}

mod ignored {
    use super::*;

    #[kata_test]
    #[ignore]
    fn plainly() {
        panic!("ignored tests can be forced");
    }

    #[ignore = "takes a week"]
    #[kata_test(kernel_ge = "99.1")]
    fn with_a_reason_and_unmet() {}
}

mod fails {
    use super::*;

    #[kata_test]
    fn by_panicking() {
        println!("to stdout");
        eprintln!("to stderr");
        assert!(!on_stage(), "the panic's own text");
    }

    #[kata_test]
    fn by_a_result() -> Result<(), String> {
        if on_stage() {
            Err("the error's own text".to_owned())
        } else {
            Ok(())
        }
    }

    #[kata_test]
    #[should_panic(expected = "another text")]
    fn by_panicking_otherwise() {
        panic!("{} text", if on_stage() { "this" } else { "another" });
    }

    #[kata_test]
    #[should_panic]
    fn by_not_panicking() {
        assert!(on_stage());
    }

    #[kata_test]
    fn by_leaving() {
        if on_stage() {
            exit(0);
        }
    }

    #[kata_test]
    fn by_abort() {
        if on_stage() {
            std::process::abort();
        }
    }

    /// What it leaves behind holds its output and must neither be waited for nor stay.
    #[kata_test]
    #[expect(
        clippy::zombie_processes,
        reason = "it is the harness that has to clean up"
    )]
    fn by_a_process_left_behind() {
        if on_stage() {
            let child = std::process::Command::new("sleep")
                .arg("60")
                .spawn()
                .expect("sleep");
            panic!("left behind: {}", child.id());
        }
    }

    #[kata_test]
    fn by_hanging() {
        if std::env::var_os("SAMPLE").is_some_and(|sample| sample == "hang") {
            eprintln!("waiting as {}", std::process::id());
            // Until it is killed, or for a minute.
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
    }
}
