//! Writes the expansion, which works under libtest and, with `harness = false`, under kata-test.
//!
//! The user's function goes into an anonymous `const`, where the names of its module are in scope. A
//! `#[test]` function has its name: libtest runs it, and editors show it. With `harness = false` rustc drops
//! this function, and the registration is used.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::Error;

use crate::args::{Args, ExpectedFailure};
use crate::function::{Function, Runtime};
use crate::need::{at, consts};
use crate::version::{TESTS, private};

/// Expands the attribute; errors become `compile_error!`s after the function.
pub(crate) fn attribute(args: TokenStream, item: TokenStream) -> TokenStream {
    let (args, mut errors) = Args::read(args);
    let Some((function, refused)) = Function::read(item.clone(), Runtime::BUILT_IN) else {
        let message = "`#[kata_test]` can only be applied to a function";
        errors.push(Error::new(Span::call_site(), message));
        return with_errors(item, errors);
    };
    errors.extend(refused);
    if errors.is_empty() {
        test(&args, &function)
    } else {
        with_errors(bare(&args, &function), errors)
    }
}

/// Returns all errors, and the tokens that editors and rustc still need.
pub(crate) fn with_errors(kept: TokenStream, errors: Vec<Error>) -> TokenStream {
    let combined = errors.into_iter().reduce(|mut all, error| {
        all.combine(error);
        all
    });
    let combined = combined.map(|error| error.to_compile_error());
    quote!(#combined #kept)
}

/// The function without its test, but with its constraints, so that rustc reports these as well.
fn bare(args: &Args, function: &Function) -> TokenStream {
    let Function {
        visibility, item, ..
    } = function;
    let krate = krate(args);
    let (consts, _) = consts(&krate, &args.needs);
    let (checked, _) = checked_metadata(&krate, args);
    quote! {
        const _: () = { #consts #checked };
        #[allow(dead_code)]
        #visibility #item
    }
}

fn test(args: &Args, function: &Function) -> TokenStream {
    let krate = krate(args);
    let (consts, all) = consts(&krate, &args.needs);
    let Function {
        ident,
        visibility,
        item,
        ignore_attr,
        ..
    } = function;

    let (checked, metadata) = checked_metadata(&krate, args);
    let name = ident.to_string();
    let name = name.strip_prefix("r#").unwrap_or(&name);
    let path = quote!(::core::concat!(::core::module_path!(), "::", #name));
    let private = private(&krate, Span::mixed_site());
    // The text of an error is taken only where it is compared: it costs compile time.
    let compares = args.expected.iter().any(|one| one.message.is_some());
    let succeeded = match compares {
        true => quote_spanned! { Span::mixed_site() => #krate::__succeeded! },
        false => quote_spanned! { Span::mixed_site() => #private::succeeded },
    };
    let body = match (function.is_async, function.is_plain) {
        (true, _) => quote_spanned! { Span::mixed_site() =>
            Async(|runtime| #succeeded(runtime.block_on(#ident())))
        },
        (_, false) => quote!(Plain(|| #succeeded(#ident()))),
        // It returns nothing, so it needs no closure: one for each test would slow down compilation.
        (_, true) => quote!(Unit(#ident)),
    };
    let should_panic = function.should_panic.as_ref().map(|expected| {
        let variant = match expected {
            Some(text) => quote!(With(#text)),
            None => quote!(Yes),
        };
        quote!(should_panic: #private::ShouldPanic::#variant)
    });
    let fields: Vec<TokenStream> = all
        .map(|all| quote!(constraints: #all))
        .into_iter()
        .chain(optional("ignore", &function.ignore))
        .chain(should_panic)
        .chain(optional("issue", &args.issue))
        .chain(optional("reason", &args.reason))
        .chain(optional("unstable", &args.unstable))
        .chain(optional("retries", &args.retries))
        .chain(args.own_machine.then(|| quote!(own_machine: true)))
        .chain(metadata)
        .collect();
    let ty = quote_spanned! { Span::mixed_site() => #private::Test };
    let mut made = quote_spanned! { Span::mixed_site() =>
        #ty::new(#path, #private::Body::#body)
    };
    if !fields.is_empty() {
        made = quote_spanned! { Span::mixed_site() => #ty { #(#fields,)* ..#made } };
    }

    quote_spanned! { Span::mixed_site() =>
        #[::core::prelude::v1::test]
        #ignore_attr
        #visibility fn #ident() {
            #private::libtest(#path, #krate::__target!());
        }
        const _: () = {
            #consts
            #checked
            #[cfg(test)]
            #item
            #[cfg(test)]
            #krate::__register! {
                #TESTS #made
            }
        };
    }
}

/// A value of an `expect_failure`, with constants of its own for its constraints.
fn expected_failure(krate: &TokenStream, expected: &ExpectedFailure) -> TokenStream {
    let (consts, all) = consts(krate, &expected.needs);
    let private = private(krate, Span::mixed_site());
    let flag = |field: &str, is_set: bool| {
        let field = Ident::new(field, Span::mixed_site());
        is_set.then(|| quote!(#field: true))
    };
    let fields: Vec<TokenStream> = all
        .map(|all| quote!(constraints: #all))
        .into_iter()
        .chain(optional("issue", &expected.issue))
        .chain(optional("message", &expected.message))
        .chain(flag("crash", expected.crash))
        .chain(flag("timeout", expected.timeout))
        .chain(flag("sometimes", expected.sometimes))
        .collect();
    quote_spanned! { Span::mixed_site() => {
        #consts
        #private::ExpectedFailure { #(#fields,)* ..#private::ExpectedFailure::ANY }
    } }
}

/// A field of a test that is set.
fn some(field: &str, value: &dyn ToTokens) -> TokenStream {
    let field = Ident::new(field, Span::mixed_site());
    quote!(#field: ::core::option::Option::Some(#value))
}

/// The same of a value that may be absent.
fn optional(field: &str, value: &Option<impl ToTokens>) -> Option<TokenStream> {
    value.as_ref().map(|value| some(field, value))
}

/// The metadata that is checked while it is compiled: a constant for each, at the place of its text,
/// and the fields of the test that they are for.
fn checked_metadata(krate: &TokenStream, args: &Args) -> (TokenStream, Vec<TokenStream>) {
    let mut consts = TokenStream::new();
    let mut fields = Vec::new();
    let kinds = [
        ("timeout", &args.timeout, quote!(::core::time::Duration)),
        ("serial", &args.serial, quote!(&::core::primitive::str)),
    ];
    for (key, text, ty) in kinds {
        let Some(text) = text else { continue };
        let constant = Ident::new(&format!("_{}", key.to_uppercase()), Span::mixed_site());
        let function = Ident::new(key, Span::mixed_site());
        let private = private(&at(text.span(), krate), text.span());
        consts.extend(quote_spanned! { text.span() =>
            const #constant: #ty = #private::#function(#text);
        });
        fields.push(some(key, &constant));
    }
    if !args.expected.is_empty() {
        let expected = args.expected.iter();
        let expected = expected.map(|one| expected_failure(krate, one));
        let private = private(krate, Span::mixed_site());
        let constant = Ident::new("_EXPECTED", Span::mixed_site());
        consts.extend(quote_spanned! { Span::mixed_site() =>
            const #constant: &[#private::ExpectedFailure] = &[#(#expected),*];
        });
        fields.push(quote!(expect_failure: #constant));
    }
    (consts, fields)
}

/// The path to kata-test: as the user gave it, or the crate's own name.
pub(crate) fn krate(args: &Args) -> TokenStream {
    match &args.krate {
        Some(path) => quote!(#path),
        None => quote!(::kata_test),
    }
}

#[cfg(test)]
mod tests {
    //! Scope: what others read in the expansion. That it compiles is shown by kata-test's own tests.

    use super::*;
    use crate::tokens::trees;

    /// rust-analyzer offers to run a function whose attribute is `core::prelude::v1::test`; below
    /// `kata_test` itself it offers nothing.
    #[test]
    fn the_expansion_has_a_test_function() {
        for item in ["fn f() {}", "fn f() -> Result<(), String> { Ok(()) }"] {
            let expanded = attribute(quote!(root), item.parse().expect("tokens"));
            let first: Vec<String> = trees(expanded)
                .iter()
                .take(4)
                .map(|tree| tree.to_string().replace(' ', ""))
                .collect();
            assert_eq!(first, ["#", "[::core::prelude::v1::test]", "fn", "f"]);
        }
    }
}
