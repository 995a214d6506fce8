//! The syntax of one argument and of a list of arguments.

use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{Error, Lit, LitInt, LitStr};

use super::METADATA;
use crate::tokens::{Reader, stream, trees};

/// Reads a list, and refuses duplicates.
pub(super) fn arguments(tokens: TokenStream) -> Vec<syn::Result<Argument>> {
    let mut seen: Vec<(String, TokenStream)> = Vec::new();
    let mut once = |argument: Argument| {
        let key = argument.name.unraw().to_string();
        let value = argument.value.to_token_stream();
        // Of a metadata key the value does not count: there can be one issue only.
        let is_same = |(other, other_value): &(String, TokenStream)| {
            let is_single = METADATA.contains(&key.as_str()) && key != "expect_failure";
            *other == key && (is_single || other_value.to_string() == value.to_string())
        };
        if seen.iter().any(is_same) {
            let message = format!("duplicate `{key}`");
            return Err(Error::new(argument.name.span(), message));
        }
        seen.push((key, value));
        Ok(argument)
    };
    let pieces = split_at_commas(tokens).into_iter();
    pieces
        .map(|piece| Argument::read(&piece).and_then(&mut once))
        .collect()
}

/// `name`, `name = value` or `name(…)`.
pub(super) struct Argument {
    pub(super) name: Ident,
    pub(super) value: Value,
}

/// The value of an argument.
pub(super) enum Value {
    /// Nothing: the atom is a flag.
    None,
    Text(LitStr),
    Number(Lit),
    Path(Vec<TokenTree>),
    /// Constraints in brackets, or the values of one.
    List(TokenStream),
}

impl Argument {
    fn read(piece: &[TokenTree]) -> syn::Result<Self> {
        let mut reader = Reader(piece);
        let name = reader.ident().cloned().ok_or_else(|| {
            let message = "expected a constraint: `name` or `name = value`";
            Error::new(span(piece), message)
        })?;
        let value = if reader.0.is_empty() {
            Value::None
        } else if let Some(list) = reader.group(Delimiter::Parenthesis) {
            Value::List(list.stream())
        } else if let Some(equals) = reader.punct('=') {
            if reader.0.is_empty() {
                let message = format!("`{name} =` has no value");
                return Err(Error::new(equals.span(), message));
            }
            Value::read(&mut reader)?
        } else {
            let message = format!("expected `,` or `= value` after `{name}`");
            return Err(Error::new(span(reader.0), message));
        };
        if reader.0.is_empty() {
            Ok(Self { name, value })
        } else {
            Err(Error::new(span(reader.0), "expected `,`"))
        }
    }
}

/// Where some trees begin.
fn span(trees: &[TokenTree]) -> Span {
    trees.first().map_or_else(Span::call_site, TokenTree::span)
}

impl Value {
    /// Reads a literal or a path, and leaves the rest.
    fn read(reader: &mut Reader<'_>) -> syn::Result<Self> {
        let all = reader.0;
        let literal = literal(&all[..1]);
        let value = if let Some(literal) = literal {
            reader.0 = &all[1..];
            Some(match literal {
                Lit::Str(text) => Self::Text(text),
                other => Self::Number(other),
            })
        } else {
            reader.path().map(|path| Self::Path(path.to_vec()))
        };
        // Behind a value stands nothing; a sign or a bracket makes it another expression.
        match (value, reader.0.first()) {
            (Some(value), None | Some(TokenTree::Ident(_) | TokenTree::Literal(_))) => Ok(value),
            _ => {
                let message = "expected a literal or the path of a function";
                Err(Error::new_spanned(stream(all), message))
            }
        }
    }

    pub(super) fn text(self, name: &Ident) -> syn::Result<LitStr> {
        match self {
            Self::Text(text) if text.value().trim().is_empty() => {
                Err(Error::new(text.span(), format!("`{name}` is empty")))
            }
            Self::Text(text) => Ok(text),
            _ => Err(Error::new(
                name.span(),
                format!("`{name}` needs a string: `{name} = \"…\"`"),
            )),
        }
    }

    pub(super) fn nothing(self, name: &Ident) -> syn::Result<()> {
        match self {
            Self::None => Ok(()),
            _ => Err(Error::new(name.span(), format!("`{name}` takes no value"))),
        }
    }

    pub(super) fn count(self, name: &Ident) -> syn::Result<LitInt> {
        match self {
            Self::Number(Lit::Int(count)) if count.base10_parse::<u32>().is_ok() => Ok(count),
            _ => Err(Error::new(
                name.span(),
                format!("`{name}` needs a whole number: `{name} = 2`"),
            )),
        }
    }

    pub(super) fn path(self, name: &Ident) -> syn::Result<TokenStream> {
        match self {
            Self::Path(path) => Ok(stream(&path)),
            _ => Err(Error::new(
                name.span(),
                format!("`{name}` needs a path: `{name} = some::path`"),
            )),
        }
    }
}

/// A literal, if these trees are one.
pub(super) fn literal(trees: &[TokenTree]) -> Option<Lit> {
    match trees {
        [TokenTree::Literal(literal)] => Some(Lit::new(literal.clone())),
        [TokenTree::Ident(word)] if word == "true" || word == "false" => {
            Some(Lit::Bool(syn::LitBool::new(word == "true", word.span())))
        }
        _ => None,
    }
}

impl ToTokens for Value {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::None => {}
            Self::Text(text) => text.to_tokens(tokens),
            Self::Number(lit) => lit.to_tokens(tokens),
            Self::Path(path) => tokens.extend(path.iter().cloned()),
            Self::List(list) => list.to_tokens(tokens),
        }
    }
}

/// Splits at the commas outside of brackets.
pub(super) fn split_at_commas(tokens: TokenStream) -> Vec<Vec<TokenTree>> {
    let mut pieces = Vec::new();
    let mut piece = Vec::new();
    for tree in trees(tokens) {
        match tree {
            TokenTree::Punct(punct) if punct.as_char() == ',' => {
                pieces.push(std::mem::take(&mut piece));
            }
            other => piece.push(other),
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}
