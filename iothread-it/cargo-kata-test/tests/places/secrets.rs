//! Secrets stay out of guests, and their values out of records.

use anyhow::Result;
use kata_test::kata_test;

use crate::commands::{in_package, outcomes};
use crate::scratch_package::scratch_package;

const VARIABLES: [(&str, &str); 3] = [
    ("ACME_LICENCE", "licence-of-acme"),
    ("GITHUB_TOKEN", "token-of-github"),
    ("SORT_KEY", "key-to-sort-by"),
];

const PLAIN: &str = r#"
#[test] fn shows() {
    for name in ["ACME_LICENCE", "GITHUB_TOKEN", "SORT_KEY"] {
        println!("{name}={}", std::env::var(name).unwrap_or_default());
    }
    panic!("its output is recorded");
}
"#;

const CONFIG: &str = "[secrets]\nvariables = ['acme_*']\nallow = ['SORT_KEY']\n";

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "10m")]
fn guests_and_records_have_no_secrets() -> Result<()> {
    let package = scratch_package(&[
        ("tests/plain.rs", PLAIN),
        (
            "tests/annotated.rs",
            "#[kata_test::kata_test] fn passes() {}\nkata_test::main!();\n",
        ),
        (".config/kata-test.toml", CONFIG),
    ])?;
    let mut command = in_package(env!("CARGO_BIN_EXE_cargo-kata-test"), package.path())?;
    let output = command
        .env_remove("LD_LIBRARY_PATH")
        .envs(VARIABLES)
        .args(["kata-test", "test", "--everywhere", "--test", "plain"])
        .args(["--places", "here,vm:bookworm"])
        .output()?;
    println!("{}", String::from_utf8_lossy(&output.stderr));
    let found = outcomes()?;
    for (place, [acme, github]) in [("here", ["***"; 2]), ("vm:bookworm", [""; 2])] {
        let record = found.iter().find(|one| one.place == place);
        let record = record.unwrap_or_else(|| panic!("{found:#?}"));
        let output = record.output.as_deref().unwrap_or_default();
        let expected =
            format!("ACME_LICENCE={acme}\nGITHUB_TOKEN={github}\nSORT_KEY=key-to-sort-by\n");
        assert!(output.contains(&expected), "{place}: {output}");
    }
    Ok(())
}
