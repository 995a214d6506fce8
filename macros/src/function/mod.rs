//! The function below the attribute, and the attributes of it that the harness uses.

mod attribute;

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use syn::Error;

use crate::tokens::{Reader, stream, trees};
use attribute::Attribute;

/// A test function without the attributes that the harness uses.
pub(crate) struct Function {
    pub(crate) ident: Ident,
    pub(crate) visibility: TokenStream,
    /// Other attributes, the signature and the body.
    pub(crate) item: TokenStream,
    pub(crate) is_async: bool,
    /// It can be called as a `fn()`.
    pub(crate) is_plain: bool,
    /// `#[ignore]` as written, for libtest's own use.
    pub(crate) ignore_attr: Option<TokenStream>,
    /// The reason, empty if none was given.
    pub(crate) ignore: Option<String>,
    /// The expected text, if any.
    pub(crate) should_panic: Option<Option<TokenStream>>,
}

/// What runs the future of an `async fn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Tokio,
    None,
}

impl Runtime {
    /// What this crate was built with.
    pub(crate) const BUILT_IN: Self = if cfg!(feature = "tokio") {
        Self::Tokio
    } else {
        Self::None
    };
}

/// The parts of a function that the expansion uses.
struct Outside<'a> {
    attributes: Vec<Attribute<'a>>,
    visibility: &'a [TokenTree],
    asyncness: Option<&'a Ident>,
    unsafety: Option<&'a Ident>,
    ident: &'a Ident,
    generics: Option<&'a [TokenTree]>,
    parameters: TokenStream,
    /// It returns nothing, and has Rust's calling convention.
    is_plain: bool,
    /// From behind the visibility to the end.
    rest: &'a [TokenTree],
}

impl Function {
    /// Reads a function. `runtime` is what runs an `async fn`. Returns nothing if the item is not a function.
    pub(crate) fn read(item: TokenStream, runtime: Runtime) -> Option<(Self, Vec<Error>)> {
        let trees = trees(item);
        let outside = Outside::read(Reader(&trees))?;
        let mut errors = outside.refusals(runtime);
        let mut function = Self {
            ident: outside.ident.clone(),
            visibility: stream(outside.visibility),
            item: TokenStream::new(),
            is_async: outside.asyncness.is_some(),
            is_plain: outside.is_plain,
            ignore_attr: None,
            ignore: None,
            should_panic: None,
        };
        for attribute in &outside.attributes {
            if !function.take(attribute, &mut errors) {
                function.item.extend(stream(attribute.all));
            }
        }
        function.item.extend(stream(outside.rest));
        Some((function, errors))
    }

    /// Reads an attribute that the harness uses; returns whether it is one.
    fn take(&mut self, attribute: &Attribute<'_>, errors: &mut Vec<Error>) -> bool {
        match (&attribute.path[..], attribute.name()) {
            ("ignore", _) => {
                match attribute.ignore_reason() {
                    Ok(reason) => self.ignore = Some(reason),
                    Err(error) => errors.push(error),
                }
                self.ignore_attr = Some(stream(attribute.all));
                true
            }
            ("should_panic", _) => {
                match attribute.expected_panic() {
                    Ok(expected) => self.should_panic = Some(expected),
                    Err(error) => errors.push(error),
                }
                true
            }
            (_, "test" | "kata_test") => {
                errors.push(attribute.error(&second_test(&attribute.path)));
                true
            }
            _ => false,
        }
    }
}

/// Returns why another attribute that makes a test is refused, and what to write instead.
fn second_test(written: &str) -> String {
    let already = format!("remove `#[{written}]`: `kata_test` already makes this a test");
    match written.trim_start_matches("::").split("::").next() {
        Some("tokio") => {
            format!("{already}, and runs an `async fn` with its feature `tokio`")
        }
        // rstest adds `#[test]` to each case if it sees no attribute that is called `test`.
        Some("test" | "kata_test") => {
            format!("{already}; below `#[rstest]` it is `#[kata_test::test(…)]`")
        }
        _ => already,
    }
}

impl<'a> Outside<'a> {
    fn read(mut reader: Reader<'a>) -> Option<Self> {
        let mut attributes = Vec::new();
        while let Some(attribute) = Attribute::read(&mut reader) {
            attributes.push(attribute);
        }
        let all = reader.0;
        if reader.keyword("pub").is_some() {
            let _ = reader.group(Delimiter::Parenthesis);
        }
        let rest = reader.0;
        let visibility = &all[..all.len() - rest.len()];
        let _ = reader.keyword("const");
        let asyncness = reader.keyword("async");
        let unsafety = reader.keyword("unsafe");
        let _ = reader.keyword("safe");
        let is_extern = reader.keyword("extern").is_some();
        let _ = reader.literal();
        reader.keyword("fn")?;
        let ident = reader.ident()?;
        let generics = reader.angles();
        let parameters = reader.group(Delimiter::Parenthesis)?.stream();
        let is_plain = !is_extern && reader.punct('-').is_none();
        Reader(&reader.0[reader.0.len().checked_sub(1)?..]).group(Delimiter::Brace)?;
        Some(Self {
            attributes,
            visibility,
            asyncness,
            unsafety,
            ident,
            generics,
            parameters,
            is_plain,
            rest,
        })
    }

    /// The errors of a function that cannot be a test, each at its tokens.
    fn refusals(&self, runtime: Runtime) -> Vec<Error> {
        let is_rstest = |attribute: &&Attribute<'_>| attribute.name() == "rstest";
        if let Some(rstest) = self.attributes.iter().find(is_rstest) {
            // Below ours rstest would find no test to multiply; the parameters are its business.
            let message = "put `#[rstest]` above, and below it `#[kata_test::test(…)]`";
            return vec![rstest.error(message)];
        }
        let mut errors = Vec::new();
        if let Some(asyncness) = self.asyncness.filter(|_| runtime == Runtime::None) {
            errors.push(Error::new(
                asyncness.span(),
                "an async test needs a runtime: enable the feature `tokio` of kata-test in Cargo.toml",
            ));
        }
        if let Some(generics) = self.generics.filter(|generics| generics.len() > 2) {
            errors.push(Error::new_spanned(
                stream(generics),
                "a test function cannot be generic",
            ));
        }
        if !self.parameters.is_empty() {
            errors.push(Error::new_spanned(
                &self.parameters,
                "a test function cannot have parameters",
            ));
        }
        if let Some(unsafety) = self.unsafety {
            errors.push(Error::new(
                unsafety.span(),
                "a test function cannot be unsafe: use an `unsafe` block in its body",
            ));
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    //! Scope: what depends on features, which the UI tests see only one way, and what belongs to
    //! which part. The UI tests have the refusals.

    use super::*;

    fn read(item: &str, runtime: Runtime) -> Option<(Function, Vec<String>)> {
        let (function, errors) = Function::read(item.parse().expect("tokens"), runtime)?;
        Some((function, errors.iter().map(Error::to_string).collect()))
    }

    #[test]
    fn async_needs_a_runtime() {
        let refused = |runtime| read("async fn f() {}", runtime).expect("a function").1;
        assert_eq!(refused(Runtime::Tokio), Vec::<String>::new());
        assert_eq!(
            refused(Runtime::None),
            [
                "an async test needs a runtime: enable the feature `tokio` of kata-test in Cargo.toml"
            ]
        );
    }

    #[test]
    fn every_part_of_a_function_is_found() {
        let item = "/// A test.\n #[ignore = \"slow\"] #[allow(dead_code)] pub(crate) const \
                    extern \"C\" fn r#match<>() -> Result<(), Vec<u8>> where u8: Copy { loop {} }";
        let (function, errors) = read(item, Runtime::None).expect("a function");
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(function.ident, "r#match");
        assert_eq!(function.visibility.to_string(), "pub (crate)");
        assert_eq!(function.ignore.as_deref(), Some("slow"));
        assert!(!function.is_plain && !function.is_async);
        let is_plain = |item| read(item, Runtime::Tokio).expect("a function").0.is_plain;
        assert!(is_plain("fn f() {}"));
        assert!(!is_plain("extern \"C\" fn f() {}"));
        assert!(!is_plain("fn f() -> () {}"));
        let kept = function.item.to_string();
        assert!(
            kept.starts_with("# [doc = \" A test.\"] # [allow (dead_code)] const extern"),
            "{kept}"
        );
        assert!(kept.ends_with("where u8 : Copy { loop { } }"), "{kept}");
    }

    #[test]
    fn items_without_a_body_are_refused() {
        for item in [
            "struct S;",
            "fn f();",
            "fn",
            "mod m {}",
            "const F: fn() = f;",
            "",
        ] {
            assert!(read(item, Runtime::None).is_none(), "{item}");
        }
    }
}
