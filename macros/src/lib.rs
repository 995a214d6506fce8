//! The attribute of kata-test, and nothing else.
//!
//! The macro maps: it turns each atom of the attribute into a call of the constructor of the same
//! name and leaves it to rustc to find unknown names and bad values. It never looks at the host,
//! and it knows no constraint by name, only what groups them.
//!
//! The files are the pipeline: `args` (what the attribute says, `need` being what it asks for) and
//! `function` (what it stands on) are read, each collecting all its errors, and `expand` writes the
//! result. `require` writes the same constraints into the middle of a test.

mod args;
mod expand;
mod function;
mod need;
mod require;
mod tokens;
mod version;

use proc_macro::TokenStream;

// Both are documented where kata-test re-exports them: only there do the links lead anywhere.
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
