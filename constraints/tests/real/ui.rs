//! What the compiler says to mistakes in an attribute.

/// trybuild fails by itself when a case has no expectation or rustc cannot be run; that it found
/// every case is checked here, since a pattern that matches nothing would be silence.
#[test]
fn mistakes_are_reported_at_their_place() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ui");
    let cases = std::fs::read_dir(folder)
        .expect("the cases")
        .filter(|entry| {
            let path = entry.as_ref().expect("an entry").path();
            path.extension().is_some_and(|extension| extension == "rs")
        })
        .count();
    assert_eq!(cases, 15, "say here how many cases there are");
    let expected = trybuild::TestCases::new();
    expected.compile_fail("tests/ui/*.rs");
    if !cfg!(feature = "tokio") {
        expected.compile_fail("tests/ui/without_tokio/*.rs");
    }
}
