//! The attribute of kata-test, and nothing else.
//!
//! The macro maps: it turns each atom of the attribute into a call of the constructor of the same
//! name and leaves it to rustc to find unknown names and bad values. It never looks at the host,
//! and it knows no constraint by name.
//!
//! The files are the pipeline: `args` (what the attribute says) and `function` (what it stands on)
//! are read, each collecting all its errors, and `expand` writes the result.

mod args;
mod expand;
mod function;

use proc_macro::TokenStream;

/// Makes a function a test that says what it needs. Documented as `kata_test::kata_test`.
#[proc_macro_attribute]
pub fn kata_test(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(args.into(), item.into()).into()
}

/// The same attribute under the name that other test macros and editors look for.
#[proc_macro_attribute]
pub fn test(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(args.into(), item.into()).into()
}
