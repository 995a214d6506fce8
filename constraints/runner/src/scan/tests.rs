//! Scope: which functions are lost, over packages made up here. That they are lost is rustc's doing.

use std::fs;
use std::path::Path;

use super::*;

fn package(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    root
}

fn unregistered(root: &Path) -> Vec<String> {
    let unregistered = unregistered_tests(&root.join("Cargo.toml")).expect("a package");
    let shown = |found: &UnregisteredTest| {
        let file = found
            .file
            .strip_prefix(root)
            .expect("a file of the package")
            .display();
        let test = found.test.as_deref().unwrap_or("?");
        format!(
            "{file}:{} {} {test} ({})",
            found.line, found.attribute, found.target
        )
    };
    unregistered.iter().map(shown).collect()
}

const MANIFEST: &str = r#"
[package]
name = "p"
[lib]
harness = false
[[test]]
name = "it"
harness = false
[[test]]
name = "taken"
harness = false
[[test]]
name = "other"
"#;

#[test]
fn every_kind_is_found_where_it_stands() {
    let root = package(&[
        ("Cargo.toml", MANIFEST),
        (
            "src/lib.rs",
            "#[cfg(test)]\nmod tests {\n    #[test]\n    fn inline() {}\n    mod deep;\n}\nmod sub;\n#[cfg(windows)] mod missing;",
        ),
        (
            "src/tests/deep.rs",
            "/// #[test]\n#[tokio::test(flavor = \"x\")]\npub(crate) async fn deep() {}",
        ),
        (
            "src/sub.rs",
            "#[path = \"elsewhere.rs\"] mod inner; mod below;",
        ),
        (
            "src/elsewhere.rs",
            "#[cfg_attr(unix, test)]\nfn conditional() {}",
        ),
        (
            "src/sub/below.rs",
            "fn f(#[test] x: u8) { let _ = \"#[test] fn no() {}\"; }\n#[rstest]\n#[case(1)]\nfn cases() {}",
        ),
        (
            "tests/it/main.rs",
            "proptest! {\n    #[test]\n    fn of_proptest(x in 0..9) {}\n}\n#[kata_test(root)]\n#[should_panic]\nfn ours() {}\n\
             #[rstest]\n#[kata_test::test]\nfn ours_too() {}\n#[test_log::test]\nfn logged() {}\n\
             #[renamed::test(root, crate = renamed)]\nfn ours_by_another_name() {}",
        ),
        (
            "tests/taken.rs",
            "#[macro_use(test)]\nextern crate kata_test;\n#[test]\nfn taken() {}\n#[tokio::test]\nasync fn lost() {}",
        ),
        ("tests/other.rs", "#[test]\nfn libtest_has_it() {}"),
    ]);
    assert_eq!(
        unregistered(root.path()),
        [
            "src/elsewhere.rs:1 test conditional (lib)",
            "src/lib.rs:3 test inline (lib)",
            "src/sub/below.rs:2 rstest cases (lib)",
            "src/tests/deep.rs:2 tokio::test deep (lib)",
            "tests/it/main.rs:2 test of_proptest (test it)",
            "tests/it/main.rs:11 test_log::test logged (test it)",
            "tests/taken.rs:5 tokio::test lost (test taken)",
        ]
    );
}

#[test]
fn an_import_makes_plain_tests_ours() {
    for (import, is_ours) in [
        ("use kata_test::test;", true),
        ("use kata_test::{Verdict, test};", true),
        ("use ::kata_test::{test};", true),
        ("use {std::fs, kata_test::{self, test}};", true),
        (
            "pub(crate) use kata_test::{\n    test, // ours\n    Verdict,\n};",
            true,
        ),
        ("use kata_test::Verdict;", false),
        ("use kata_test::{Verdict, test as other};", false),
        ("use kata_test::other::{test};", false),
        ("use other::{test};", false),
        ("use {kata_test::Verdict, other::test};", false),
        // What a glob brings in comes before the prelude.
        ("use kata_test::*;", true),
        ("use other::*;", false),
    ] {
        let text = format!("{import}\n#[test]\nfn a() {{}}");
        let root = package(&[("Cargo.toml", MANIFEST), ("tests/it.rs", &text)]);
        assert_eq!(unregistered(root.path()).is_empty(), is_ours, "{import}");
    }
}

#[test]
fn an_import_counts_in_its_own_module() {
    let root = package(&[
        ("Cargo.toml", MANIFEST),
        (
            "tests/it.rs",
            "mod ours {\n    use kata_test::*;\n    #[test]\n    fn a() {}\n    mod inner {\n        use super::*;\n        #[test]\n        fn b() {}\n    }\n    mod other {\n        #[test]\n        fn c() {}\n    }\n}\n\
             fn body() { use kata_test::test; }\n#[test]\nfn d() {}\nmod file;",
        ),
        ("tests/file.rs", "use super::*;\n#[test]\nfn e() {}"),
        (
            "tests/taken.rs",
            "mod file;\n#[test]\nfn f() {}\nuse kata_test::test;",
        ),
    ]);
    assert_eq!(
        unregistered(root.path()),
        [
            "tests/file.rs:2 test e (test it)",
            "tests/it.rs:11 test c (test it)",
            "tests/it.rs:16 test d (test it)",
        ]
    );
}

#[test]
fn a_stray_says_what_to_write() {
    let root = package(&[
        ("Cargo.toml", MANIFEST),
        ("tests/it.rs", "#[test]\nfn a() {}"),
    ]);
    let unregistered = unregistered_tests(&root.path().join("Cargo.toml")).expect("a package");
    let message = unregistered[0].to_string();
    assert!(
        message.contains(
            "it.rs:1: nothing runs a: `#[test]` is dropped, for the target `test it` has"
        ),
        "{message}"
    );
    assert!(
        message.ends_with("`#[macro_use(test)] extern crate kata_test;` at the root"),
        "{message}"
    );
}

#[test]
fn what_cannot_be_read_is_named() {
    let root = package(&[("Cargo.toml", MANIFEST), ("tests/it.rs", "fn a() {\n \"")]);
    let error = unregistered_tests(&root.path().join("Cargo.toml")).expect_err("no source");
    assert!(error.to_string().contains("it.rs"), "{error}");
    let error = unregistered_tests(&root.path().join("no/Cargo.toml")).expect_err("no manifest");
    assert!(error.to_string().contains("no/Cargo.toml"), "{error}");
    fs::write(root.path().join("Cargo.toml"), "[lib").expect("a file");
    assert!(matches!(
        unregistered_tests(&root.path().join("Cargo.toml")),
        Err(RunnerError::Manifest { .. })
    ));
}

fn returned(text: &str) -> Vec<String> {
    let root = package(&[("a.rs", text)]);
    let found = early_returns(&root.path().join("a.rs")).expect("a source");
    let shown = |found: &EarlyReturn| format!("{} {}", found.line, found.test);
    found.iter().map(shown).collect()
}

#[test]
fn a_test_that_returns_early_is_found() {
    let text = r#"
#[test]
fn of_an_if() {
    if !is_root() {
        return;
    }
}
#[kata_test(when = there)]
fn of_a_let() -> Result<()> {
    let Some(x) = y else { return Ok(()); };
    Ok(())
}
mod inner {
    #[tokio::test]
    async fn of_a_match() -> Result<()> {
        match look()? {
            None => return Ok(()),
            Some(x) if x > 3 => { println!("why"); if quiet { return Ok(()) } }
            Some(_) => {}
        }
        Ok(())
    }
}
on_each_machine!(declared; needs (root): declared_too);
fn declared(topology: Topology) -> Result<()> {
    if old() { return Ok(()); } else { unsafe { return Ok(()); } }
}
"#;
    assert_eq!(
        returned(text),
        [
            "5 of_an_if",
            "10 of_a_let",
            "17 of_a_match",
            "18 of_a_match",
            "26 declared",
            "26 declared"
        ]
    );
}

/// Of a test that returns nothing every return is a pass; of one that returns a `Result` every `Ok` is.
#[test]
fn a_test_that_returns_a_unit_value_early_is_found() {
    let text = r#"
#[test]
fn prints() {
    if old() { return println!("not here"); }
    if older() { return eprintln!("no {}", x); }
    match y { None => return drop(z), Some(_) => {} }
    let Some(x) = y else { return note("why") };
    if broken() { return panic!("no"); }
    if there() { return std::unimplemented!(); }
    if skipped() { return kata_test::skip!("why"); }
    let f = || { if a { return 3; } 4 };
}
#[test]
fn is_fine() -> Result<(), Error> {
    if old() { return Ok(println!("not here")); }
    if older() { return Ok::<(), Error>(()); }
    if oldest() { return Err(x); }
    Ok(())
}
"#;
    let lines = [4, 5, 6, 7].map(|line| format!("{line} prints"));
    let more = [15, 16].map(|line| format!("{line} is_fine"));
    assert_eq!(returned(text), [&lines[..], &more].concat());
}

#[test]
fn what_does_not_end_a_test_as_passed_is_no_early_return() {
    let text = r#"
macro_rules! cases { ($case:ident) => { #[test] fn $case() { if a { return; } } }; }
fn helper() { if a { return; } }
proptest! { #[test] fn uses(x in 0..9) { helper(); } }
#[test]
fn waits() {
    loop { if is_there() { return; } }
}
#[test]
fn maps() -> Result<()> {
    run(|bench| { if a { return Ok(()); } Ok(()) })?;
    let found = list.iter().map(|x| { if x { return 1; } 2 });
    if a { return Err(b); }
    if a { return is_refused(bench); }
    for x in y { if x { return Ok(()); } }
    return Ok(());
}
"#;
    assert_eq!(returned(text), Vec::<String>::new());
}
