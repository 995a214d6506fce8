//! Writes the expansion: one that works under libtest and, with `harness = false`, under ours.
//!
//! The user's function goes into an anonymous `const`, from where it still sees everything its
//! module sees. Under its own name stands a `#[test]` shim: libtest runs it, editors show it, and
//! rustc drops it where libtest is switched off. There the registration takes over.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Error, ItemFn, Visibility};

use crate::args::Args;
use crate::function::Function;
use crate::need::consts;

/// Expands the attribute; what it could not accept becomes `compile_error!`s beside the function.
pub(crate) fn attribute(args: TokenStream, item: TokenStream) -> TokenStream {
    let (args, mut errors) = Args::read(args);
    let item_fn = match syn::parse2::<ItemFn>(item.clone()) {
        Ok(item_fn) => item_fn,
        Err(_) => {
            let message = "`kata_test` stands on a function, and this is none";
            errors.push(Error::new(Span::call_site(), message));
            return with_errors(item, errors);
        }
    };
    let (function, refused) = Function::read(item_fn);
    errors.extend(refused);
    if errors.is_empty() {
        test(&args, function)
    } else {
        with_errors(bare(&args, &function), errors)
    }
}

/// All errors at once, and the tokens that keep editors and other errors working.
fn with_errors(kept: TokenStream, errors: Vec<Error>) -> TokenStream {
    let combined = errors.into_iter().reduce(|mut all, error| {
        all.combine(error);
        all
    });
    let combined = combined.map(|error| error.to_compile_error());
    quote!(#combined #kept)
}

/// The function without its test, but with its constraints, so that rustc reports these as well.
fn bare(args: &Args, function: &Function) -> TokenStream {
    let item = &function.item;
    let krate = krate(args);
    let (consts, _) = consts(&krate, &args.needs);
    quote! {
        const _: () = { #consts };
        #[allow(dead_code)]
        #item
    }
}

fn test(args: &Args, mut function: Function) -> TokenStream {
    let krate = krate(args);
    let (consts, names) = consts(&krate, &args.needs);
    let vis = std::mem::replace(&mut function.item.vis, Visibility::Inherited);
    let body = &function.item;
    let ident = &body.sig.ident;
    let ignore_attr = &function.ignore_attr;

    let constraints = (!names.is_empty()).then(|| quote!(.constraints(&[#(#names),*])));
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
    let name = ident.to_string();
    let name = name.strip_prefix("r#").unwrap_or(&name);
    let path = quote!(::core::concat!(::core::module_path!(), "::", #name));

    quote_spanned! { Span::mixed_site() =>
        #[::core::prelude::v1::test]
        #ignore_attr
        #vis fn #ident() {
            #krate::__private::libtest(#path, #krate::__target!());
        }
        const _: () = {
            #consts
            #[cfg(test)]
            const _: () = {
                #body
                #krate::__private::inventory::submit! {
                    #krate::__private::Test::new(
                        #path,
                        || #krate::__private::succeeded(#ident()),
                    )
                    #constraints #ignore #should_panic #issue #reason
                }
            };
        };
    }
}

/// The path to kata-test: as the user gave it, or the crate's own name.
fn krate(args: &Args) -> TokenStream {
    match &args.krate {
        Some(path) => quote!(#path),
        None => quote!(::kata_test),
    }
}
