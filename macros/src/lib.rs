//! The attribute of kata-test.
//!
//! The macro maps each atom of the attribute to a call of the constructor of the same name, so that
//! rustc reports unknown names and invalid values. It does not observe the host and has no list of
//! constraints.
//!
//! The files are the pipeline: `args` reads the arguments, with a `need` for each constraint, and
//! `function` reads the function; both collect all errors. `expand` writes the result, and `require`
//! expands `require!`.

mod args;
mod expand;
mod function;
mod need;
mod require;
mod tokens;
mod version;

use proc_macro::TokenStream;

// kata-test documents the macros, where links to its items work.
#[expect(missing_docs, reason = "see above")]
#[proc_macro_attribute]
pub fn kata_test(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(args.into(), item.into()).into()
}

#[expect(missing_docs, reason = "see above")]
#[proc_macro_attribute]
pub fn test(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(args.into(), item.into()).into()
}

#[expect(missing_docs, reason = "see above")]
#[proc_macro]
pub fn require(args: TokenStream) -> TokenStream {
    require::check(args.into()).into()
}
