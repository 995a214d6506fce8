//! Names with the version of kata-test, which is this crate's too.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote_spanned;

/// Adds the version to a name, as kata-test does.
macro_rules! versioned {
    ($name:literal) => {
        concat!(
            $name,
            "_",
            env!("CARGO_PKG_VERSION_MAJOR"),
            "_",
            env!("CARGO_PKG_VERSION_MINOR"),
            "_",
            env!("CARGO_PKG_VERSION_PATCH")
        )
    };
}

/// The section that the linker collects tests in.
pub(crate) const TESTS: &str = versioned!("__libc_kata_tests");
/// The section that the linker collects the constraints of `require!` in.
pub(crate) const REQUIRED: &str = versioned!("__libc_kata_required");

/// The path to kata-test's hidden module.
pub(crate) fn private(krate: &TokenStream, span: Span) -> TokenStream {
    let module = Ident::new(versioned!("__private"), span);
    quote_spanned!(span => #krate::#module)
}
