//! Writes the expansion, which works under libtest and, with `harness = false`, under kata-test.
//!
//! The user's function goes into an anonymous `const`, from where it still sees everything its
//! module sees. Its own name belongs to a `#[test]` function: libtest runs it, editors show it, and
//! rustc drops it where libtest is switched off. There the registration takes over.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::Error;

use crate::args::Args;
use crate::function::{Function, Runtime};
use crate::need::{at, consts};
use crate::version::{TESTS, private};

/// Expands the attribute; errors become `compile_error!`s beside the function.
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

/// All errors at once, and the tokens that keep editors and other errors working.
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

    let constraints = all.map(|all| quote!(.constraints(#all)));
    let ignore = function
        .ignore
        .as_ref()
        .map(|reason| quote!(.ignore(#reason)));
    let should_panic = function
        .should_panic
        .as_ref()
        .map(|expected| match expected {
            Some(text) => quote!(.should_panic_with(#text)),
            None => quote!(.should_panic()),
        });
    let issue = args.issue.as_ref().map(|text| quote!(.issue(#text)));
    let reason = args.reason.as_ref().map(|text| quote!(.reason(#text)));
    let own_machine = args.own_machine.then(|| quote!(.own_machine()));
    let (checked, metadata) = checked_metadata(&krate, args);
    let name = ident.to_string();
    let name = name.strip_prefix("r#").unwrap_or(&name);
    let path = quote!(::core::concat!(::core::module_path!(), "::", #name));
    let private = private(&krate, Span::mixed_site());
    let made = quote_spanned! { Span::mixed_site() => #private::Test };
    let succeeded = quote_spanned! { Span::mixed_site() => #private::succeeded };
    let made = match (function.is_async, function.is_plain) {
        (true, _) => quote_spanned! { Span::mixed_site() =>
            #made::new_async(#path, |runtime| #succeeded(runtime.block_on(#ident())))
        },
        (_, false) => quote_spanned! { Span::mixed_site() =>
            #made::new(#path, || #succeeded(#ident()))
        },
        // Nothing to judge, so nothing to wrap: a closure for each of many tests is felt.
        (_, true) => quote_spanned! { Span::mixed_site() => #made::unit(#path, #ident) },
    };

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
                #constraints #ignore #should_panic #issue #reason #own_machine #metadata
            }
        };
    }
}

/// The metadata that is checked while it is compiled: a constant for each, at the place of its text,
/// and the calls that hand them on.
fn checked_metadata(krate: &TokenStream, args: &Args) -> (TokenStream, TokenStream) {
    let mut consts = TokenStream::new();
    let mut calls = TokenStream::new();
    let kinds = [
        ("timeout", &args.timeout, quote!(::core::time::Duration)),
        ("serial", &args.serial, quote!(&::core::primitive::str)),
    ];
    for (key, text, ty) in kinds {
        let Some(text) = text else { continue };
        let constant = syn::Ident::new(&format!("_{}", key.to_uppercase()), Span::mixed_site());
        let function = syn::Ident::new(key, Span::mixed_site());
        let private = private(&at(text.span(), krate), text.span());
        consts.extend(quote_spanned! { text.span() =>
            const #constant: #ty = #private::#function(#text);
        });
        calls.extend(quote!(.#function(#constant)));
    }
    (consts, calls)
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
