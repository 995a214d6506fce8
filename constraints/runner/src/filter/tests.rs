//! Scope: expressions. Where they are used is tested with the selection and the configuration.

use proptest::prelude::*;

use super::matcher::Style;
use super::*;

fn parse(text: &str) -> Filter {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

const UNIT: TestName<'static> = TestName {
    binary: "my-pkg",
    test: "disk::reads_at_end",
    ignored: None,
};
const IGNORED: TestName<'static> = TestName {
    binary: "my-pkg::it",
    test: "needs_root_here",
    ignored: Some("needs root"),
};
const PROGRAM: TestName<'static> = TestName {
    binary: "other::bin/tool",
    test: "main::works",
    ignored: Some(""),
};

#[test]
fn predicates_select_what_they_name() {
    let table = [
        ("all()", [true, true, true]),
        ("none()", [false, false, false]),
        ("test(root)", [false, true, false]),
        ("test(=needs_root)", [false, false, false]),
        ("test( =main::works )", [false, false, true]),
        ("test(~end)", [true, false, false]),
        ("test(/^[a-m].*s/)", [true, false, true]),
        ("test(/^disk::|_here$/)", [true, true, false]),
        ("test(#*::w?rks)", [false, false, true]),
        ("package(my-pkg)", [true, true, false]),
        ("package(my)", [false, false, false]),
        ("package(*)", [true, true, true]),
        ("package(~pkg)", [true, true, false]),
        ("binary(it)", [false, true, false]),
        ("binary_id(*::*)", [false, true, true]),
        ("binary_id(other::bin/tool)", [false, false, true]),
        ("kind(lib)", [true, false, false]),
        ("kind(test) | kind(bin)", [false, true, true]),
        ("ignored()", [false, true, true]),
        ("ignored(root)", [false, true, false]),
        ("ignored(=)", [false, false, true]),
        ("ignored(/^needs (root|kvm)$/)", [false, true, false]),
        ("not ignored()", [true, false, false]),
    ];
    for (text, expected) in table {
        let filter = parse(text);
        let matched = [UNIT, IGNORED, PROGRAM].map(|test| filter.matches(&test));
        assert_eq!(matched, expected, "{text}");
    }
}

#[test]
fn operators_bind_as_in_nextest() {
    let same = [
        ("all() or none() and none()", "all() | (none() & none())"),
        ("not all() | all()", "(not all()) + all()"),
        ("!all() & none()", "(not all()) and none()"),
        ("all() - none() & all()", "all() & not none() & all()"),
        ("(all() | none()) | all()", "all() or none() or all()"),
        ("all()&&(none())||all()", "(all() & none()) | all()"),
        ("not not all()", "!!all()"),
    ];
    for (one, other) in same {
        assert_eq!(parse(one), parse(other), "{one}");
    }
    assert_ne!(
        parse("all() or none() and none()"),
        parse("(all() or none()) and none()")
    );
}

#[test]
fn escapes_stand_for_the_character() {
    let test = |test| TestName { test, ..UNIT };
    assert!(parse(r"test(=a\)b)").matches(&test("a)b")));
    assert!(parse(r"test(=a\\b)").matches(&test(r"a\b")));
    assert!(parse(r"test(/a\/\d\)/)").matches(&test("a/7)")));
    assert!(!parse(r"test(/a\/\d\)/)").matches(&test("a/x)")));
}

#[test]
fn problems_have_a_position_and_a_remedy() {
    let texts = [
        "",
        "test",
        "test(",
        "test()",
        "test(=)",
        "test(/a",
        "test(/a/",
        "test(/a/ b)",
        "test(/(/)",
        "tset(a)",
        "elephant(a)",
        "deps(a)",
        "all(a)",
        "all",
        "test(a) test(b)",
        "test(a) &",
        "test(a) &&& test(b)",
        "test(a))",
        "(test(a)",
        "(test(a) test(b))",
        "nota()",
        "package(a[bc])",
        "disk::reads",
        &"(".repeat(100),
        &"!".repeat(100),
    ];
    let problems = texts.map(|text| {
        let problem = text.parse::<Filter>().unwrap_err();
        let text: String = text.chars().take(30).collect();
        format!("{text}\n    {problem}")
    });
    insta::assert_snapshot!(problems.join("\n"));
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let style = prop_oneof![
        Just(Style::Exact),
        Just(Style::Part),
        Just(Style::Glob),
        Just(Style::Regex)
    ];
    (style, r"[a-z:/)(\\*?=~#|. ]{1,12}").prop_filter_map("a pattern", |(style, text)| {
        let text = if style == Style::Regex {
            text
        } else {
            text.trim().to_owned()
        };
        // A regular expression cannot end in a lone backslash, and has its own escapes.
        let usable = !text.is_empty() && (style != Style::Regex || !text.contains('\\'));
        usable.then(|| Matcher::new(style, &text).ok()).flatten()
    })
}

fn expression() -> impl Strategy<Value = Expression> {
    let predicate = (0..Predicate::ALL.len()).prop_map(|index| Predicate::ALL[index].1);
    let leaf = prop_oneof![
        Just(Expression::All),
        Just(Expression::None),
        (predicate, matcher()).prop_map(|(predicate, name)| Expression::Is(predicate, name)),
    ];
    leaf.prop_recursive(5, 32, 3, |inner| {
        let several = prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            inner.prop_map(|inner| Expression::Not(Box::new(inner))),
            several.clone().prop_map(|parts| flat(parts, true)),
            several.prop_map(|parts| flat(parts, false)),
        ]
    })
}

/// Joins expressions, with no conjunction in a conjunction.
fn flat(parts: Vec<Expression>, and: bool) -> Expression {
    let parts = parts.into_iter().flat_map(|part| match part {
        Expression::And(inner) if and => inner,
        Expression::Or(inner) if !and => inner,
        part => vec![part],
    });
    let parts = parts.collect();
    if and {
        Expression::And(parts)
    } else {
        Expression::Or(parts)
    }
}

proptest! {
    #[test]
    fn a_printed_expression_is_parsed_back(expression in expression()) {
        let printed = expression.to_string();
        prop_assert_eq!(printed.parse::<Filter>().map_err(|e| e.to_string()), Ok(Filter(expression)));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in prop_oneof![
        "\\PC{0,60}",
        r"((test|not|and|all|ignored| |\(|\)|/|\\|=|#|&|-|ä|[*]){1}){0,30}",
    ]) {
        if let Err(error) = text.parse::<Filter>() {
            prop_assert!(text.is_char_boundary(error.at()), "{}", error);
        }
    }
}
