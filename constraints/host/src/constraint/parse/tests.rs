//! Scope: the grammar and its errors. What a value means is tested where it is parsed.

use proptest::prelude::*;

use super::*;

fn shown(text: &str) -> String {
    let list = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let shown: Vec<_> = list.iter().map(Constraint::to_string).collect();
    shown.join(", ")
}

fn problem(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn lists_nest_and_whitespace_is_ignored() {
    assert_eq!(shown(""), "");
    assert_eq!(shown(" root ,\n kvm, "), "root, kvm");
    assert_eq!(
        shown(r#"root,any( kvm ,not(all(root,command="a"))),kernel_ge="6.1""#),
        "root, any(kvm, not(all(root, command a))), kernel >= 6.1"
    );
    assert_eq!(
        shown(r#"command("a", "b",), command("c")"#),
        "all(command a, command b), command c"
    );
}

#[test]
fn every_example_of_the_table_parses() {
    for entry in TABLE {
        let read = parse(entry.example);
        match entry.build {
            Build::Function => assert!(read.is_err(), "{}", entry.name),
            _ => assert!(
                read.is_ok(),
                "{}: {}",
                entry.name,
                read.expect_err("an error")
            ),
        }
        assert!(entry.doc.trim().len() > 10, "{} is documented", entry.name);
    }
}

#[test]
fn errors_have_a_position_and_a_suggestion() {
    for (text, expected) in [
        (
            "rot",
            r#"unknown constraint `rot`; did you mean `root`? at "rot""#,
        ),
        (
            "root, kernle_ge = \"6\"",
            "unknown constraint `kernle_ge`; did you mean `kernel_ge`? at \"kernle_ge = \\\"6\\\"\"",
        ),
        ("elephant", r#"unknown constraint `elephant` at "elephant""#),
        (
            "issue = \"x\"",
            "`issue` is metadata of a test, not a constraint at \"issue = \\\"x\\\"\"",
        ),
        (
            "root, timeout = \"5s\"",
            "`timeout` is metadata of a test, not a constraint at \"timeout = \\\"5s\\\"\"",
        ),
        ("root = \"x\"", "`root` takes no value at \"\\\"x\\\"\""),
        (
            "kernel_ge",
            "`kernel_ge` takes a string: `kernel_ge = \"6.1\"` at \"kernel_ge\"",
        ),
        (
            "kernel_ge =",
            "`kernel_ge` takes a string: `kernel_ge = \"6.1\"` at the end",
        ),
        (
            "kernel_ge = 6",
            "`kernel_ge` takes a string: `kernel_ge = \"6.1\"` at \"6\"",
        ),
        (
            "kernel_ge = \"six\"",
            "`kernel_ge`: expected a kernel version, such as \"6.1\", \"5.10.16\" or \"6.8-rc4\" at \"\\\"six\\\"\"",
        ),
        (
            "when = a",
            "`when` takes a function, which only the attribute accepts at \"a\"",
        ),
        ("any()", "`any()` is empty at \"any()\""),
        ("any", "`any` needs a list: `any(…)` at \"any\""),
        (
            "not(root, kvm)",
            "`not` takes one constraint: write `not(all(…))` or `not(any(…))` at \"not(root, kvm)\"",
        ),
        ("any(root", "unclosed bracket at \"(root\""),
        ("root)", "expected `,` at \")\""),
        ("root kvm", "expected `,` at \"kvm\""),
        ("command = \"a", "unterminated string at \"\\\"a\""),
        (
            "command(root)",
            "expected a value of `command`: `command(\"…\")` at \"root)\"",
        ),
        ("root; kvm", "unexpected character ';' at \"; kvm\""),
    ] {
        assert_eq!(problem(text), expected, "{text}");
    }
}

#[test]
fn deep_nesting_is_refused() {
    let text = "not(".repeat(10_000);
    assert!(problem(&text).starts_with("lists are nested at most 32 deep"));
}

/// Any text, and texts that begin as values do.
fn values() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "(qemu-img|ubuntu|rhel9|debian|CONFIG_A|/dev/|CAP_|)[ =<>!&|(]{0,3}[0-9.,-]{0,8}(rc1|GiB|é)?",
    ]
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = parse(&text);
    }

    /// Whatever a row is given: an atom or a reason, and what was accepted can be shown.
    #[test]
    fn no_value_panics(value in values()) {
        for entry in TABLE {
            let atom = match entry.build {
                Build::Text(make) => make(keep(&value)),
                Build::Number(make) => make(value.len() as u32),
                Build::Flag(_) | Build::Function => continue,
            };
            match atom {
                Ok(atom) => prop_assert!(!atom.to_string().is_empty()),
                Err(problem) => prop_assert!(!problem.is_empty()),
            }
        }
    }

    /// Words of the grammar in any order reach deeper than arbitrary letters do.
    #[test]
    fn no_words_panic(words in proptest::collection::vec(
        prop_oneof![
            Just("root"), Just("any"), Just("not"), Just("("), Just(")"), Just(","), Just("="),
            Just("kernel_ge"), Just("command"), Just("\"6.1\""), Just("7"), Just("\""),
        ], 0..24)) {
        let _ = parse(&words.join(" "));
    }
}
