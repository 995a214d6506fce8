//! An attribute of the function.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{Error, LitStr};

use crate::tokens::{Reader, path_text, stream, trees};

/// `#[path …]`.
pub(super) struct Attribute<'a> {
    /// The path as written, without spaces.
    pub(super) path: String,
    /// The tokens after the path.
    value: Vec<TokenTree>,
    pub(super) all: &'a [TokenTree],
}

impl<'a> Attribute<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let all = reader.0;
        reader.punct('#')?;
        let group = reader.group(Delimiter::Bracket)?;
        let inside = trees(group.stream());
        let mut inside = Reader(&inside);
        let path = path_text(inside.path().unwrap_or_default());
        Some(Self {
            path,
            value: inside.0.to_vec(),
            all: &all[..all.len() - reader.0.len()],
        })
    }

    /// The last part of the path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit("::").next().unwrap_or_default()
    }

    pub(super) fn error(&self, message: &str) -> Error {
        Error::new_spanned(stream(self.all), message)
    }

    /// `#[ignore]` or `#[ignore = "reason"]`.
    pub(super) fn ignore_reason(&self) -> syn::Result<String> {
        if self.value.is_empty() {
            return Ok(String::new());
        }
        match self.assigned() {
            Some(value) => Ok(text(value)?.value()),
            None => Err(self.error("write `#[ignore = \"reason\"]`")),
        }
    }

    /// `#[should_panic]`, `#[should_panic = "…"]` or `#[should_panic(expected = "…")]`.
    pub(super) fn expected_panic(&self) -> syn::Result<Option<TokenStream>> {
        if self.value.is_empty() {
            return Ok(None);
        }
        if let Some(value) = self.assigned() {
            text(value)?;
            return Ok(Some(stream(value)));
        }
        let group = Reader(&self.value).group(Delimiter::Parenthesis);
        let inside = trees(group.map(proc_macro2::Group::stream).unwrap_or_default());
        let mut inside = Reader(&inside);
        let wrong = || self.error("write `#[should_panic(expected = \"…\")]`");
        let key = inside.ident().ok_or_else(wrong)?;
        if key != "expected" {
            return Err(Error::new(key.span(), "the only key here is `expected`"));
        }
        inside.punct('=').ok_or_else(wrong)?;
        let value = match inside.0 {
            [value @ .., TokenTree::Punct(comma)] if comma.as_char() == ',' => value,
            value => value,
        };
        text(value)?;
        Ok(Some(stream(value)))
    }

    /// The tokens after a `=`.
    fn assigned(&self) -> Option<&[TokenTree]> {
        let mut value = Reader(&self.value);
        value.punct('=')?;
        Some(value.0)
    }
}

fn text(value: &[TokenTree]) -> syn::Result<LitStr> {
    let tokens = stream(value);
    syn::parse2(tokens.clone()).map_err(|_| Error::new_spanned(tokens, "expected a string"))
}
