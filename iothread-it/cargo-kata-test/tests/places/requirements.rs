//! What the configuration requires of plain tests is evaluated in each place.

use std::fs;

use anyhow::Result;
use kata_test::kata_test;
use kata_test_runner::Outcome;

use crate::commands::{in_package, outcomes};
use crate::{folder, outcome};

const FILES: [(&str, &str); 3] = [
    (
        "Cargo.toml",
        "[workspace]\n[package]\nname = \"scratch\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
         [profile.dev]\ndebug = false\n",
    ),
    (
        "src/lib.rs",
        r#"
#[cfg(test)]
mod tests {
    fn release() -> String { std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap() }
    #[test] fn needs_an_old_kernel() { assert!(release().starts_with("6.1."), "{}", release()); }
    #[test] fn needs_a_new_kernel() { assert!(release().starts_with("6.12."), "{}", release()); }
    #[test] fn needs_no_kernel_of_today() {}
    #[test] fn needs_a_module() {
        assert!(std::path::Path::new("/sys/module/dummy").exists());
    }
    #[test] fn needs_an_unprivileged_user() {
        assert!(std::fs::write("/etc/written", "").is_err());
    }
}
"#,
    ),
    (
        ".config/kata-test.toml",
        r#"
[requirements]
'test(old_kernel)' = 'kernel_lt = "6.5"'
'test(new_kernel)' = 'kernel_ge = "6.10"'
'test(of_today)' = 'kernel_ge = "99.0"'
'test(a_module)' = 'module = "dummy"'

[[tests]]
filter = 'test(unprivileged)'
requires = 'not(root)'
user = "unprivileged"
"#,
    ),
];

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn a_plain_test_is_sent_to_the_place_that_meets_its_requirement() -> Result<()> {
    let folder = folder()?;
    for (name, text) in FILES {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder"))?;
        fs::write(path, text)?;
    }
    let run = |command: &str| -> Result<String> {
        let program = env!("CARGO_BIN_EXE_cargo-kata-test");
        let mut process = in_package(program, folder.path())?;
        process.env_remove("LD_LIBRARY_PATH");
        process.args(["kata-test", command, "--places", "vm:bookworm,vm:trixie"]);
        let ran = process.output()?;
        let [stdout, stderr] = [ran.stdout, ran.stderr].map(String::from_utf8);
        let (stdout, stderr) = (stdout?, stderr?);
        println!("{stdout}{stderr}");
        Ok(stdout)
    };
    let plan = run("plan")?;
    for (start, end) in [
        (
            "needs_a_new_kernel: needs kernel >= 6.10: ",
            "in vm:trixie as ",
        ),
        (
            "needs_no_kernel_of_today: needs kernel >= 99.0: ",
            "nowhere",
        ),
    ] {
        let start = format!("  tests::{start}");
        let line = plan.lines().find(|line| line.starts_with(&start));
        assert!(line.is_some_and(|line| line.contains(end)), "{start}{end}");
    }
    run("test")?;
    let outcomes = outcomes()?;
    for (test, place) in [
        ("needs_an_old_kernel", "vm:bookworm"),
        ("needs_a_new_kernel", "vm:trixie"),
        ("needs_a_module", "vm:bookworm"),
        ("needs_an_unprivileged_user", "vm:bookworm"),
    ] {
        let found = outcome(&outcomes, &format!("tests::{test}"));
        assert_eq!(
            (found.outcome, &*found.place),
            (Outcome::Passed, place),
            "{found:#?}"
        );
    }
    let nowhere = outcome(&outcomes, "tests::needs_no_kernel_of_today");
    assert_eq!(nowhere.outcome, Outcome::Nowhere);
    let reasons: Vec<String> = nowhere.reasons.iter().map(ToString::to_string).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    for (reason, place) in reasons.iter().zip(["vm:bookworm", "vm:trixie"]) {
        assert!(reason.starts_with("needs kernel >= 99.0: "), "{reason}");
        assert!(reason.ends_with(&format!(", {place})")), "{reason}");
    }
    Ok(())
}
