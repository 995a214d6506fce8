//! Expands `require!`: a check of constraints at run time.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::Error;

use crate::args::Args;
use crate::expand::{krate, with_errors};
use crate::need;
use crate::version::{REQUIRED, private};

/// Expands `require!`.
pub(crate) fn check(args: TokenStream) -> TokenStream {
    let (args, mut errors) = Args::read(args);
    for key in &args.metadata {
        let message =
            format!("`{key}` is metadata of the test, not a constraint: state it in its attribute");
        errors.push(Error::new(key.span(), message));
    }
    if args.needs.is_empty() && errors.is_empty() {
        let message = "`require!` needs a constraint, such as `kernel_ge = \"5.10\"`";
        errors.push(Error::new(Span::call_site(), message));
    }
    let krate = krate(&args);
    let (consts, required) = need::consts(&krate, &args.needs);
    if !errors.is_empty() {
        return with_errors(quote!({ #consts }), errors);
    }
    let private = private(&krate, Span::mixed_site());
    quote_spanned! { Span::mixed_site() => {
        #consts
        #krate::__register! { #REQUIRED required #required }
        #private::require(#required);
    } }
}
