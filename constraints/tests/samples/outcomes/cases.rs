//! Tests whose end is neither a pass nor a failure. Most fail; the variable `SAMPLE` turns them round.

use std::path::PathBuf;

use kata_test::{Verdict, kata_test};

/// Returns whether `SAMPLE` is set to this.
fn asked(what: &str) -> bool {
    std::env::var_os("SAMPLE").is_some_and(|sample| sample == what)
}

fn mended() -> bool {
    asked("mended")
}

mod expected {
    use super::*;

    #[kata_test(expect_failure)]
    fn always() {
        assert!(mended(), "it never works");
    }

    #[kata_test(expect_failure(kernel_ge = "2.6", issue = "x/1", message = "no disk"))]
    fn with_a_message() {
        assert!(mended(), "there is no disk");
    }

    #[kata_test(expect_failure(message = "no disk at all"))]
    fn by_an_error() -> Result<(), String> {
        match mended() {
            true => Ok(()),
            false => Err("there is no disk at all".to_owned()),
        }
    }

    /// The second of its two applies.
    #[kata_test(
        expect_failure(kernel_ge = "99.1", message = "another text"),
        expect_failure(kernel_lt = "99.1", issue = "x/2")
    )]
    fn by_the_second() {
        assert!(mended(), "it is as the second says");
    }

    #[kata_test(expect_failure(crash, message = "SIGABRT"))]
    fn by_a_crash() {
        if !mended() {
            std::process::abort();
        }
    }

    #[kata_test(timeout = "500ms", expect_failure(timeout))]
    fn by_a_timeout() {
        if !mended() {
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
    }

    #[kata_test(expect_failure(sometimes))]
    fn sometimes() {
        assert!(mended(), "this time");
    }

    #[kata_test(expect_failure(kernel_ge = "99.1"))]
    fn elsewhere() {}
}

mod not_so {
    use super::*;

    #[kata_test(expect_failure(message = "no disk"))]
    fn another_text() {
        assert!(mended(), "there is no memory");
    }

    #[kata_test(expect_failure(issue = "x/1"))]
    fn a_crash() {
        if !mended() {
            std::process::abort();
        }
    }

    #[kata_test(timeout = "50ms", expect_failure)]
    fn a_timeout() {
        if !mended() {
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
    }

    #[kata_test(expect_failure(when = unknown))]
    fn undetermined() {}

    #[kata_test(expect_failure(kernel_ge = "99.1"))]
    fn elsewhere() {
        assert!(mended(), "it is not expected here");
    }

    fn unknown() -> Verdict {
        Verdict::undetermined("nobody knows", "the sample")
    }
}

mod attempts {
    use super::*;

    /// A file that counts the attempts of a test.
    fn count(test: &str) -> usize {
        let folder = std::env::var_os("ATTEMPTS").map(PathBuf::from);
        let file = folder.expect("ATTEMPTS is a folder").join(test);
        let before = std::fs::read(&file).unwrap_or_default().len();
        std::fs::write(file, vec![b'x'; before + 1]).expect("a file");
        before + 1
    }

    #[kata_test(retries = 2)]
    fn passes_at_the_third() {
        let attempt = count("third");
        assert!(attempt == 3, "attempt {attempt} is too early");
    }

    #[kata_test]
    fn passes_at_the_second() {
        assert!(count("second") == 2, "the first is too early");
    }

    #[kata_test]
    fn fails_at_the_third() {
        assert!(count("fails") != 3, "the third is too late");
    }

    /// Only where the parent is a harness that may be harmed.
    #[kata_test(non_root, retries = 1)]
    #[ignore = "its parent can start no process any more"]
    fn keeps_the_second_from_starting() {
        let parent = std::os::unix::process::parent_id().to_string();
        let mut command = std::process::Command::new("prlimit");
        let status = command.args(["--nproc=0", "--pid", &parent]).status();
        assert!(status.expect("prlimit").success(), "no limit is set");
        panic!("the second is too late");
    }
}

mod unstable {
    use super::*;

    #[kata_test(unstable(reason = "races with the kernel"))]
    fn fails() {
        assert!(mended(), "it lost the race");
    }

    #[kata_test(unstable(reason = "races with the kernel"))]
    fn passes() {}
}
