//! **Scope**: early returns that suites of other projects have, and code that only looks like one.

use std::path::PathBuf;

use super::find;

/// Returns `line: code: attribute` for each early return of a file of tests.
fn found(text: &str) -> Vec<String> {
    let files = [(PathBuf::from("tests/a.rs"), text.to_owned())];
    let found = find(&files, |path, why| panic!("{}: {why}", path.display()));
    let line = |found: super::EarlyReturn| {
        let attribute = found.attribute.unwrap_or_else(|| "skip!".into());
        format!("{}: {}: {attribute}", found.line, found.code)
    };
    found.into_iter().map(line).collect()
}

/// Returns what is found in a test with this body.
fn in_test(body: &str) -> Vec<String> {
    found(&format!("#[test]\nfn a() {{\n{body}\nassert!(true);\n}}"))
}

#[test]
fn conditions_on_the_user() {
    let root = ["3: !Uid::effective().is_root(): #[kata_test(root)]"];
    assert_eq!(
        in_test("if !Uid::effective().is_root() { println!(\"no\"); return; }"),
        root
    );
    let root = ["3: unsafe { libc::geteuid() } != 0: #[kata_test(root)]"];
    assert_eq!(
        in_test("if unsafe { libc::geteuid() } != 0 { return; }"),
        root
    );
    let non_root = ["3: is_root(): #[kata_test(non_root)]"];
    assert_eq!(in_test("if is_root() { return Ok(()); }"), non_root);
    let as_else = ["3: running_as_root(): #[kata_test(root)]"];
    assert_eq!(
        in_test("if running_as_root() { mount(); } else { return }"),
        as_else
    );
}

#[test]
fn conditions_on_the_host() {
    let cases = [
        (
            "if !Path::new(\"/dev/kvm\").exists() { return; }",
            "#[kata_test(kvm)]",
        ),
        (
            "if !Path::new(\"/dev/fuse\").exists() { return; }",
            "#[kata_test(device = \"/dev/fuse\")]",
        ),
        (
            "if KernelVersion::current().unwrap() < KernelVersion::new(5, 10, 0) { return; }",
            "#[kata_test(kernel_ge = \"5.10\")]",
        ),
        (
            "if which(\"ip\").is_err() { return; }",
            "#[kata_test(command = \"ip\")]",
        ),
        (
            "let Ok(_) = Command::new(\"nft\").output() else { return; };",
            "#[kata_test(command = \"nft\")]",
        ),
        (
            "if std::env::var(\"CI\").is_ok() { return; }",
            "#[kata_test(not(env = \"CI\"))]",
        ),
        (
            "if !is_x86_feature_detected!(\"avx2\") { return; }",
            "#[kata_test(cpu_feature = \"avx2\")]",
        ),
        ("if !has_cap(None, CAP_NET_ADMIN) { return; }", "skip!"),
        (
            "match open() { Err(Errno::EPERM) => return, other => other.unwrap() };",
            "skip!",
        ),
        (
            "if !works() { eprintln!(\"skipping: it does not work\"); return; }",
            "skip!",
        ),
    ];
    for (body, attribute) in cases {
        let found = in_test(body);
        assert!(
            found.len() == 1 && found[0].ends_with(attribute),
            "{body}: {found:?}"
        );
    }
}

#[test]
fn macros_and_functions_of_the_suite() {
    let text = r#"
macro_rules! skip { ($($reason:expr),+) => {{ eprintln!($($reason),+); return; }} }
macro_rules! needs_tun { () => { if !Path::new("/dev/net/tun").exists() { skip!("no tun"); } } }
fn has_kvm() -> bool { Path::new("/dev/kvm").exists() }
cfg_if! { if #[cfg(linux)] { macro_rules! needs_nft { () => { if which("nft").is_err() { return; } } } } }
#[test]
fn a() { needs_tun!(); assert!(true); }
#[test]
fn b() { if !has_kvm() { return; } assert!(true); }
#[test]
fn c() { needs_nft!(); }
#[tokio::test]
async fn d() { skip_if_not_root!(); require_kernel_version!(d, ">= 5.3"); }
mod tests { cfg_if! { if #[cfg(linux)] { #[test] fn e() { test_utils::skip_if_kvm_unaccessable!(); } } } }
"#;
    let expected = [
        "7: needs_tun!(): #[kata_test(device = \"/dev/net/tun\")]",
        "9: !has_kvm(): #[kata_test(kvm)]",
        "11: needs_nft!(): #[kata_test(command = \"nft\")]",
        "13: require_kernel_version!(d, \">= 5.3\"): #[kata_test(kernel = \">= 5.3\")]",
        "13: skip_if_not_root!(): #[kata_test(root)]",
        "14: test_utils::skip_if_kvm_unaccessable!(): #[kata_test(kvm)]",
    ];
    assert_eq!(found(text), expected);
}

#[test]
fn a_test_that_is_one_if() {
    let text = "#[test]\nfn a() { let x = 1; if is_root() { assert_eq!(x, 1); } }";
    assert_eq!(
        found(text),
        ["2: nothing is done unless is_root(): #[kata_test(root)]"]
    );
}

#[test]
fn what_is_no_early_return() {
    let bodies = [
        // It expects something else there.
        "if !is_root() { assert!(mount().is_err()); return; }",
        // It is not about the host.
        "if x == 3 { return; }",
        "let Some(x) = next() else { return };",
        // It fails.
        "if !is_root() { return Err(e); }",
        // The closure returns.
        "let f = || { if is_root() { return; } }; f();",
    ];
    for body in bodies {
        assert_eq!(in_test(body), Vec::<String>::new(), "{body}");
    }
    // A macro with a part that is named so.
    let select =
        "macro_rules! select { ($skip:tt) => { return $skip; } }\n#[test] fn a() { select!(1); }";
    assert_eq!(found(select), Vec::<String>::new());
    let no_test = "fn main() { if !is_root() { return; } }";
    let files = [(PathBuf::from("src/main.rs"), no_test.to_owned())];
    assert_eq!(find(&files, |_, _| {}), []);
}

#[test]
fn a_file_that_cannot_be_parsed_is_named_and_the_others_are_searched() {
    let good = "#[test] fn a() { if !is_root() { return; } }".to_owned();
    let files = [("a.rs".into(), "fn (".to_owned()), ("b.rs".into(), good)];
    let mut unreadable = Vec::new();
    let found = find(&files, |path, why| {
        unreadable.push(format!("{}: {why}", path.display()));
    });
    assert_eq!(found.len(), 1);
    assert!(
        unreadable[0].starts_with("a.rs: line 1: "),
        "{unreadable:?}"
    );
}
