//! The compiler's errors for mistakes in an attribute.

/// trybuild does not notice a pattern that matches no file, so the cases are counted.
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
    assert_eq!(cases, 17, "update this count");
    let expected = trybuild::TestCases::new();
    expected.compile_fail("tests/ui/*.rs");
    if !cfg!(feature = "tokio") {
        expected.compile_fail("tests/ui/without_tokio/*.rs");
    }
}
