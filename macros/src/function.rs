//! The function below the attribute: what it may look like, and the attributes we take off it.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Attribute, Error, Expr, ExprLit, ItemFn, Lit, LitStr, Meta, Token};

/// A test function, its harness attributes taken off and read.
pub(crate) struct Function {
    pub(crate) item: ItemFn,
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

impl Function {
    /// Reads a function; `runtime` says whether there is one for an `async fn`.
    pub(crate) fn read(item: ItemFn, runtime: Runtime) -> (Self, Vec<Error>) {
        let mut errors = refusals(&item, runtime);
        let mut function = Self {
            item,
            ignore_attr: None,
            ignore: None,
            should_panic: None,
        };
        let attrs = std::mem::take(&mut function.item.attrs);
        for attr in attrs {
            if !function.take(&attr, &mut errors) {
                function.item.attrs.push(attr);
            }
        }
        (function, errors)
    }

    /// Reads an attribute that is the harness's business; says whether it was one.
    fn take(&mut self, attr: &Attribute, errors: &mut Vec<Error>) -> bool {
        if attr.path().is_ident("ignore") {
            match ignore_reason(attr) {
                Ok(reason) => self.ignore = Some(reason),
                Err(error) => errors.push(error),
            }
            self.ignore_attr = Some(quote!(#attr));
            return true;
        }
        if attr.path().is_ident("should_panic") {
            match expected_panic(attr) {
                Ok(expected) => self.should_panic = Some(expected),
                Err(error) => errors.push(error),
            }
            return true;
        }
        let last = attr.path().segments.last();
        if last.is_some_and(|segment| segment.ident == "test" || segment.ident == "kata_test") {
            errors.push(Error::new_spanned(attr, second_test(attr)));
            return true;
        }
        false
    }
}

/// Why there cannot be another attribute that makes a test, and what to write instead.
fn second_test(attr: &Attribute) -> String {
    let written = attr.path().to_token_stream().to_string().replace(' ', "");
    let already = format!("remove `#[{written}]`: `kata_test` already makes this a test");
    let first = attr.path().segments.first();
    match first.map(|segment| segment.ident.to_string()).as_deref() {
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

/// Why a function cannot be a test, each reason at the tokens that cause it.
fn refusals(item: &ItemFn, runtime: Runtime) -> Vec<Error> {
    let sig = &item.sig;
    let is_rstest = |attr: &&Attribute| {
        let last = attr.path().segments.last();
        last.is_some_and(|segment| segment.ident == "rstest")
    };
    if let Some(rstest) = item.attrs.iter().find(is_rstest) {
        // Below ours rstest would find no test to multiply; the parameters are its business.
        let message = "put `#[rstest]` above, and below it `#[kata_test::test(…)]`";
        return vec![Error::new_spanned(rstest, message)];
    }
    let mut errors = Vec::new();
    let mut refuse = |tokens: TokenStream, message: &str| {
        errors.push(Error::new_spanned(tokens, message));
    };
    if let Some(asyncness) = &sig.asyncness
        && runtime == Runtime::None
    {
        refuse(
            quote!(#asyncness),
            "an async test needs a runtime: enable the feature `tokio` of kata-test in Cargo.toml",
        );
    }
    if !sig.generics.params.is_empty() {
        refuse(
            sig.generics.to_token_stream(),
            "a test function cannot be generic: nothing would choose the type",
        );
    }
    if !sig.inputs.is_empty() {
        refuse(
            sig.inputs.to_token_stream(),
            "a test function takes no parameters: the harness has nothing to pass",
        );
    }
    if let syn::Safety::Unsafe(token) = &sig.safety {
        refuse(
            quote!(#token),
            "a test function cannot be unsafe: put the block into its body",
        );
    }
    errors
}

/// `#[ignore]` or `#[ignore = "reason"]`.
fn ignore_reason(attr: &Attribute) -> syn::Result<String> {
    match &attr.meta {
        Meta::Path(_) => Ok(String::new()),
        Meta::NameValue(pair) => text(&pair.value).map(|reason| reason.value()),
        Meta::List(_) => Err(Error::new_spanned(attr, "write `#[ignore = \"reason\"]`")),
    }
}

/// `#[should_panic]`, `#[should_panic = "…"]` or `#[should_panic(expected = "…")]`.
fn expected_panic(attr: &Attribute) -> syn::Result<Option<TokenStream>> {
    match &attr.meta {
        Meta::Path(_) => Ok(None),
        Meta::NameValue(pair) => text(&pair.value).map(|text| Some(quote!(#text))),
        Meta::List(list) => list.parse_args_with(|input: syn::parse::ParseStream<'_>| {
            let key: syn::Ident = input.parse()?;
            if key != "expected" {
                return Err(Error::new(key.span(), "the only key here is `expected`"));
            }
            input.parse::<Token![=]>()?;
            let expected: LitStr = input.parse()?;
            input.parse::<Option<Token![,]>>()?;
            Ok(Some(quote!(#expected)))
        }),
    }
}

fn text(value: &Expr) -> syn::Result<&LitStr> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Ok(text),
        other => Err(Error::new_spanned(other, "expected a text")),
    }
}

#[cfg(test)]
mod tests {
    //! Scope: what depends on features, which the UI tests see only one way. They have the rest.

    use super::*;

    fn refused(item: &str, runtime: Runtime) -> Vec<String> {
        let item = syn::parse_str(item).expect("a function");
        let (_, errors) = Function::read(item, runtime);
        errors.iter().map(Error::to_string).collect()
    }

    #[test]
    fn async_takes_a_runtime() {
        let item = "async fn f() {}";
        assert_eq!(refused(item, Runtime::Tokio), Vec::<String>::new());
        assert_eq!(
            refused(item, Runtime::None),
            [
                "an async test needs a runtime: enable the feature `tokio` of kata-test in Cargo.toml"
            ]
        );
    }
}
