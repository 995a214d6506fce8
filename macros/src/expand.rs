//! Writes the expansion: one that works under libtest and, with `harness = false`, under ours.
//!
//! The user's function goes into an anonymous `const`, from where it still sees everything its
//! module sees. Under its own name stands a `#[test]` shim: libtest runs it, editors show it, and
//! rustc drops it where libtest is switched off. There the registration takes over.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Error, ItemFn, Visibility};

use crate::args::{Args, Atom};
use crate::function::Function;

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
    let (consts, _) = constraint_consts(&krate, &args.atoms);
    let (checked, _) = checked_metadata(&krate, args);
    quote! {
        const _: () = { #consts #checked };
        #[allow(dead_code)]
        #item
    }
}

fn test(args: &Args, mut function: Function) -> TokenStream {
    let krate = krate(args);
    let (consts, names) = constraint_consts(&krate, &args.atoms);
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
    let (checked, metadata) = checked_metadata(&krate, args);
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
            #checked
            #[cfg(test)]
            const _: () = {
                #body
                #krate::__private::inventory::submit! {
                    #krate::__private::Test::new(
                        #path,
                        || #krate::__private::succeeded(#ident()),
                    )
                    #constraints #ignore #should_panic #issue #reason #metadata
                }
            };
        };
    }
}

/// One constant for each atom: rustc reports the first panic of a constant only, so a bad value in
/// one of them hides no other. All of it carries the span of the atom's name, which is what the
/// message of a constructor then points at.
fn constraint_consts(krate: &TokenStream, atoms: &[Atom]) -> (TokenStream, Vec<syn::Ident>) {
    let mut consts = TokenStream::new();
    let mut names = Vec::new();
    for (index, Atom { name, args }) in atoms.iter().enumerate() {
        let span = name.span();
        // The underscore keeps the constant from being reported as unused outside of tests.
        let constant = syn::Ident::new(&format!("_C{index}"), Span::mixed_site());
        let ty = quote_spanned!(Span::mixed_site() => #krate::constraint::Constraint);
        let krate = at(span, krate);
        consts.extend(quote_spanned! { span =>
            const #constant: #ty = #krate::constraint::#name(#args);
        });
        names.push(constant);
    }
    (consts, names)
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
        let krate = at(text.span(), krate);
        consts.extend(quote_spanned! { text.span() =>
            const #constant: #ty = #krate::__private::#function(#text);
        });
        calls.extend(quote!(.#function(#constant)));
    }
    (consts, calls)
}

/// The same tokens at another place: the span of a call begins where its path begins.
fn at(span: Span, tokens: &TokenStream) -> TokenStream {
    let moved = tokens.clone().into_iter().map(|mut token| {
        token.set_span(span.resolved_at(token.span()));
        token
    });
    moved.collect()
}

/// The path to kata-test: as the user gave it, or the crate's own name.
fn krate(args: &Args) -> TokenStream {
    match &args.krate {
        Some(path) => quote!(#path),
        None => quote!(::kata_test),
    }
}
