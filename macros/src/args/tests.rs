//! Scope: reading and collecting. What rustc reports is covered by the UI tests of kata-test.

use super::needs::one_edit_apart;
use super::*;

fn read(text: &str) -> (Args, Vec<String>) {
    let (args, errors) = Args::read(text.parse().expect("tokens"));
    (
        args,
        errors.into_iter().map(|error| error.to_string()).collect(),
    )
}

fn shown(needs: &[Need]) -> String {
    let one = |need: &Need| match need {
        Need::Atom { name, args } => format!("{name}({args})"),
        Need::Value { name, value, .. } => format!("{name}({value})"),
        Need::Group(group, of) => format!("{group:?}[{}]", shown(of)),
    };
    needs.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn lists_nest() {
    let (args, errors) =
        read(r#"any(root, not(all(kvm, command = "a"))), caps("X", "Y"), command("b")"#);
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(
        shown(&args.needs),
        r#"Any[root(), Not[All[kvm(), command("a")]]], All[caps("X"), caps("Y")], command("b")"#
    );
}

#[test]
fn bad_lists_are_reported_and_their_good_parts_kept() {
    let (args, errors) = read(
        r#"any(), not(root, kvm), any(kvm, kvm, issue = "x"), caps("X", "X"), al(root), all, caps()"#,
    );
    assert_eq!(
        shown(&args.needs),
        r#"All[root(), kvm()], kvm(), caps("X")"#
    );
    assert_eq!(
        errors,
        [
            "`any()` is empty",
            "`not` takes one constraint: write `not(all(…))` or `not(any(…))`",
            "duplicate `kvm`",
            "`issue` is metadata of the test: state it outside of `all(…)`, `any(…)` and `not(…)`",
            "duplicate value",
            "expected the values of `al` here: constraints are grouped by `all(…)`, `any(…)` and `not(…)`",
            "`all` needs a list: `all(…)`",
            "`caps()` is empty",
        ]
    );
}

#[test]
fn atoms_keep_their_order_and_metadata_is_separate() {
    let (args, errors) = read(
        r#"root, issue = "x/1", kernel_ge = "5.0", own_machine, when = a::b, crate = ::k, reason = "r","#,
    );
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(
        shown(&args.needs),
        r#"root(), kernel_ge("5.0"), when("a::b" , a :: b)"#
    );
    let keys: Vec<String> = args.metadata.iter().map(ToString::to_string).collect();
    assert_eq!(keys, ["issue", "own_machine", "reason"]);
    assert_eq!(args.issue.map(|text| text.value()).as_deref(), Some("x/1"));
    assert_eq!(args.reason.map(|text| text.value()).as_deref(), Some("r"));
    assert!(args.krate.is_some() && args.own_machine);
    let (_, errors) = read(r#"own_machine = "yes""#);
    assert_eq!(errors, ["`own_machine` takes no value"]);
}

#[test]
fn all_errors_are_reported_at_once() {
    let (args, errors) = read(r#"root, , kvm kvm, issue = 3, root, command =, isue = "x""#);
    assert_eq!(args.needs.len(), 1);
    assert_eq!(
        errors,
        [
            "expected a constraint: `name` or `name = value`",
            "expected `,` or `= value` after `kvm`",
            "`issue` needs a string: `issue = \"…\"`",
            "duplicate `root`",
            "`command =` has no value",
            "unknown constraint `isue`; did you mean `issue`?",
        ]
    );
}

#[test]
fn a_range_is_no_duplicate() {
    let (args, errors) = read(r#"kernel_ge = "5.0", kernel_ge = "6.0""#);
    assert_eq!((args.needs.len(), errors.len()), (2, 0));
}

#[test]
fn the_metadata_keys_are_those_of_the_table() {
    assert_eq!(METADATA[..], *kata_test_host::constraint::METADATA);
}

#[test]
fn one_edit() {
    assert!(one_edit_apart("isue", "issue"));
    assert!(one_edit_apart("reasom", "reason"));
    assert!(one_edit_apart("resaon", "reason"));
    assert!(!one_edit_apart("issue", "issue"));
    assert!(!one_edit_apart("root", "reason"));
}
