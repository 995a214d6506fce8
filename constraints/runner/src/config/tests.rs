//! Scope: what a file means. That a run obeys it is tested with real binaries.

use std::fs;

use proptest::prelude::*;

use super::*;

const ROOT: TestName<'static> = TestName {
    binary: "disk::it",
    test: "needs_root::mounts",
    ignored: None,
};

/// Loads a configuration from a file of its own.
fn load(text: &str) -> Result<Config, ConfigError> {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join(".config")).unwrap();
    fs::write(root.path().join(".config/kata-test.toml"), text).unwrap();
    Config::load(root.path())
}

fn settings(text: &str, test: &TestName<'_>) -> TestSettings {
    let config = load(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    config.for_test(test)
}

/// Returns the message without the folder.
fn problem(text: &str) -> String {
    let error = load(text).expect_err(text).to_string();
    error.split_once(".config/").expect("a file").1.to_owned()
}

#[test]
fn the_first_match_counts_for_each_key_and_every_requirement() {
    let text = r#"
        [[tests]]
        filter = "package(disk)"
        requires = 'root, kernel_ge = "5.10"'
        timeout = "60s"
        [[tests]]
        filter = "test(mounts)"
        requires = 'kvm'
        timeout = "5m"
        user = "unprivileged"
        places = ["old", "sudo"]
        parallel = true
        [[tests]]
        filter = "test(other)"
        user = "root"
        [places.old]
        suite = "bookworm"
        [requirements]
        "test(needs_root)" = "mem_available_ge = \"1GiB\""
    "#;
    let found = settings(text, &ROOT);
    assert_eq!(
        found.needs(),
        "root, kernel >= 5.10, kvm, mem_available >= 1GiB"
    );
    assert_eq!(found.timeout, Some(Duration::from_secs(60)));
    assert_eq!(found.user, Some(UserKind::Unprivileged));
    assert_eq!(
        found.places.as_deref(),
        Some(&["vm:bookworm".to_owned(), "sudo".to_owned()][..])
    );
    assert!(found.parallel && !found.runs_ignored);
    let other = settings(
        text,
        &TestName {
            binary: "net",
            test: "other",
            ..ROOT
        },
    );
    assert_eq!(
        (other.user, other.needs().as_str(), other.parallel),
        (Some(UserKind::Root), "", false)
    );
}

#[test]
fn an_ignored_test_runs_if_its_reason_has_a_requirement() {
    let text = "[requirements]\n'ignored(needs root)' = 'root'\n'package(disk)' = 'kvm'";
    let ignored = |reason| TestName {
        ignored: reason,
        ..ROOT
    };
    let found = settings(text, &ignored(Some("needs root, and time")));
    assert!(found.runs_ignored);
    assert_eq!(found.needs(), "root, kvm");
    assert!(!settings(text, &ignored(Some("slow"))).runs_ignored);
    assert!(!settings(text, &ignored(None)).runs_ignored);
    let without = "[[tests]]\nfilter = 'ignored(needs root)'\ntimeout = '1s'";
    assert!(!settings(without, &ignored(Some("needs root"))).runs_ignored);
}

#[test]
fn the_first_expected_failure_counts_as_a_whole() {
    let text = r#"
        [[tests]]
        filter = "test(mounts)"
        expect-failure = { requires = 'kernel_lt = "6.5", root', message = "no disk" }
        [[tests]]
        filter = "all()"
        expect-failure = { issue = "x#1", crash = true, timeout = true, sometimes = true }
        unstable = "x#2"
    "#;
    let found = settings(text, &ROOT);
    let expected = found.expect_failure.expect("an expected failure");
    assert_eq!(expected.condition(), "kernel < 6.5, root");
    assert_eq!(expected.message.as_deref(), Some("no disk"));
    assert_eq!(expected.issue, None);
    assert!(!expected.crash && !expected.timeout && !expected.sometimes);
    assert_eq!(found.unstable.as_deref(), Some("x#2"));
    let other = TestName {
        test: "other",
        ..ROOT
    };
    let expected = settings(text, &other).expect_failure;
    let expected = expected.expect("an expected failure");
    assert_eq!(expected.condition(), "");
    assert!(expected.crash && expected.timeout && expected.sometimes);
}

#[test]
fn mistakes_have_a_file_a_line_and_a_remedy() {
    let texts = [
        "[test]\n",
        "\n\n[elephant]\n",
        "[[tests]]\nfiltre = 'all()'",
        "[[tests]]\ntimeout = '1s'",
        "[[tests]]\nfilter = 'tset(a)'",
        "[[tests]]\nfilter = 'all()'\nrequires = 'rot'",
        "[[tests]]\nfilter = 'all()'\nrequires = ''",
        "[[tests]]\nfilter = 'all()'\nuser = 'toor'",
        "[[tests]]\nfilter = 'all()'\ntimeout = 60",
        "[[tests]]\nfilter = 'all()'\ntimeout = '60'",
        "[[tests]]\nfilter = 'all()'\nplaces = ['heer']",
        "[[tests]]\nfilter = 'all()'\nplaces = ['elephant']",
        "[[tests]]\nfilter = 'all()'\nplaces = []",
        "[[tests]]\nfilter = 'all()'\nparallel = 2",
        "[[tests]]\nfilter = 'all()'\nexpect-failure = true",
        "[[tests]]\nfilter = 'all()'\nexpect-failure = { crashes = true }",
        "[[tests]]\nfilter = 'all()'\nexpect-failure = { requires = 'rot' }",
        "[[tests]]\nfilter = 'all()'\nunstable = ' '",
        "[tests]\nfilter = 'all()'",
        "[requirements]\n'test(a)' = 'root'\n'test(b' = 'root'",
        "[requirements]\n'test(a)' = 5",
        "[places.here]\nsuite = 'bookworm'",
        "[places.'my vm']\nsuite = 'bookworm'",
        "[places.old]\n",
        "[places.old]\nsuit = 'bookworm'",
        "[places.old]\nsuite = ''",
        "[places.own]\nkernel = 'bzImage'",
        "[places.mine]\nsuite = 'sid'\nkernel = 'bzImage'",
        "[places.mine]\nmodules = 'modules'",
        "[places.mine]\nkernel = ''",
        "[places.mine]\nkernel = 'bzImage'\nkernel-args = \"a\\nb\"",
        "[places.mine]\nkernel = 'bzImage'\nnetwork = 'tap'",
        "[requirements]\n'all()' = 'root, all(isolated_network)'",
        "[vms]\nqmeu = 'auto'",
        "[suspects]\npattern = '('",
        "[suspects]\npolicy = 'panic'",
        "[harness]\nlibtest_compatible = ['a']",
        "[harness]\nlibtest-compatible = ['a b']",
        "[package-files]\nexclude = ['a', '/etc']",
        "[secrets]\nvariables = [\n'ACME_*',\n'A B']",
        "[secrets]\nallow = ['*']",
        "suspects = 'fail'",
        "[suspects\n",
        "[suspects]\npolicy = 'fail'\n[suspects]\n",
    ];
    let problems = texts.map(|text| format!("{}\n    {}", text.trim(), problem(text)));
    insta::assert_snapshot!(problems.join("\n"));
}

#[test]
fn another_word_may_contain_isolated_network() {
    let text = "[requirements]\n'all()' = 'command = \"x-isolated_network\"'";
    assert_eq!(settings(text, &ROOT).needs(), "command x-isolated_network");
}

#[test]
fn the_manifest_may_have_the_configuration() {
    let root = tempfile::tempdir().unwrap();
    let empty = Config::load(root.path()).unwrap();
    assert_eq!(empty.for_test(&ROOT).needs(), "");

    let manifest = root.path().join("Cargo.toml");
    fs::write(&manifest, "[workspace]\nmembers = []\n").unwrap();
    assert!(Config::load(root.path()).is_ok());
    let table = "[workspace.metadata.kata-test";
    fs::write(
        &manifest,
        format!("[workspace]\n{table}.requirements]\n'all()' = 'root'\n"),
    )
    .unwrap();
    assert_eq!(
        Config::load(root.path()).unwrap().for_test(&ROOT).needs(),
        "root"
    );

    fs::write(
        &manifest,
        format!("[workspace]\n\n{table}.suspects]\npolice = 'fail'\n"),
    )
    .unwrap();
    let mistake = Config::load(root.path()).unwrap_err().to_string();
    assert!(
        mistake.ends_with(
            "Cargo.toml:4: [suspects] has an unknown key `police`; did you mean `policy`?"
        ),
        "{mistake}"
    );

    fs::create_dir(root.path().join(".config")).unwrap();
    fs::write(root.path().join(".config/kata-test.toml"), "").unwrap();
    let both = Config::load(root.path()).unwrap_err();
    assert!(matches!(both, ConfigError::TwoFiles { .. }), "{both}");
    fs::write(&manifest, "[workspace.metadata.other]\n").unwrap();
    assert!(Config::load(root.path()).is_ok());
    fs::write(&manifest, "workspace = 5\n").unwrap();
    let mistake = Config::load(root.path()).unwrap_err().to_string();
    assert!(
        mistake.ends_with("Cargo.toml:1: `workspace` is not a table"),
        "{mistake}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join(".config/kata-test.toml")).unwrap();
    let error = Config::load(root.path()).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }), "{error}");
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in prop_oneof![
        "\\PC{0,80}",
        r"((\[\[?tests\]\]?|\[places\.a\]|\[suspects\]|filter|requires|places|pattern|policy| = |'all\(\)'|'root'|\['here'\]|5|\{|\}|ä)\n?){0,12}",
    ]) {
        if let Err(error) = load(&text) {
            prop_assert!(matches!(error, ConfigError::Mistake { .. }), "{}", error);
        }
    }
}
