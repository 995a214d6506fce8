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

impl Function {
    pub(crate) fn read(item: ItemFn) -> (Self, Vec<Error>) {
        let mut errors = refusals(&item);
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
            let written = attr.path().to_token_stream().to_string().replace(' ', "");
            let message = format!("remove `#[{written}]`: `kata_test` already makes this a test");
            errors.push(Error::new_spanned(attr, message));
            return true;
        }
        false
    }
}

/// Why a function cannot be a test, each reason at the tokens that cause it.
fn refusals(item: &ItemFn) -> Vec<Error> {
    let sig = &item.sig;
    let mut errors = Vec::new();
    let mut refuse = |tokens: TokenStream, message: &str| {
        errors.push(Error::new_spanned(tokens, message));
    };
    if let Some(asyncness) = &sig.asyncness {
        refuse(
            quote!(#asyncness),
            "a test function cannot be async: build a runtime in its body and block on the future",
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
