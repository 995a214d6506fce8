//! One argument, and a list of them: how they are written, before anybody asks what they mean.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Expr, ExprLit, Lit, LitStr, Path, Token};

use super::METADATA;

/// Reads one list, and refuses what stands in it twice.
pub(super) fn arguments(tokens: TokenStream) -> Vec<syn::Result<Argument>> {
    let mut seen: Vec<String> = Vec::new();
    let mut once = |argument: Argument| {
        let key = argument.name.unraw().to_string();
        // Of a metadata key the value does not count: there can be one issue only.
        let written = if METADATA.contains(&key.as_str()) {
            key.clone()
        } else {
            format!("{key} {}", argument.value.to_token_stream())
        };
        if seen.contains(&written) {
            let message = format!("`{key}` is stated twice");
            return Err(Error::new(argument.name.span(), message));
        }
        seen.push(written);
        Ok(argument)
    };
    let pieces = split_at_commas(tokens).into_iter();
    pieces
        .map(|piece| syn::parse2(piece).and_then(&mut once))
        .collect()
}

/// `name`, `name = value` or `name(…)`.
pub(super) struct Argument {
    pub(super) name: Ident,
    pub(super) value: Value,
}

/// What an argument has behind its name.
pub(super) enum Value {
    /// Nothing: the atom is a flag.
    None,
    Text(LitStr),
    Number(Lit),
    Path(Path),
    /// What stands in brackets: constraints, or the values of one.
    List(TokenStream),
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let name = Ident::parse_any(input).map_err(|error| {
            Error::new(
                error.span(),
                "expected a constraint: `name` or `name = value`",
            )
        })?;
        if input.is_empty() {
            return Ok(Self {
                name,
                value: Value::None,
            });
        }
        if input.peek(syn::token::Paren) {
            let content;
            syn::parenthesized!(content in input);
            if !input.is_empty() {
                return Err(Error::new(input.span(), "expected `,`"));
            }
            let value = Value::List(content.parse()?);
            return Ok(Self { name, value });
        }
        if !input.peek(Token![=]) {
            let message = format!("expected `,` or `= value` after `{name}`");
            return Err(Error::new(input.span(), message));
        }
        let equals: Token![=] = input.parse()?;
        if input.is_empty() {
            return Err(Error::new(equals.span, format!("`{name} =` has no value")));
        }
        let expr: Expr = input.parse()?;
        if !input.is_empty() {
            return Err(Error::new(input.span(), "expected `,`"));
        }
        let value = match expr {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) => Value::Text(text),
            Expr::Lit(ExprLit { lit, .. }) => Value::Number(lit),
            Expr::Path(path) if path.qself.is_none() => Value::Path(path.path),
            other => {
                let message = "expected a literal or the path of a function";
                return Err(Error::new_spanned(other, message));
            }
        };
        Ok(Self { name, value })
    }
}

impl ToTokens for Value {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::None => {}
            Self::Text(text) => text.to_tokens(tokens),
            Self::Number(lit) => lit.to_tokens(tokens),
            Self::Path(path) => path.to_tokens(tokens),
            Self::List(list) => list.to_tokens(tokens),
        }
    }
}

impl Value {
    pub(super) fn text(self, name: &Ident) -> syn::Result<LitStr> {
        match self {
            Self::Text(text) if text.value().trim().is_empty() => {
                Err(Error::new(text.span(), format!("`{name}` is empty")))
            }
            Self::Text(text) => Ok(text),
            _ => Err(Error::new(
                name.span(),
                format!("`{name}` needs a text: `{name} = \"…\"`"),
            )),
        }
    }

    pub(super) fn path(self, name: &Ident) -> syn::Result<Path> {
        match self {
            Self::Path(path) => Ok(path),
            _ => Err(Error::new(
                name.span(),
                format!("`{name}` needs a path: `{name} = some::path`"),
            )),
        }
    }
}

/// Splits at the commas that stand outside of any bracket.
pub(super) fn split_at_commas(tokens: TokenStream) -> Vec<TokenStream> {
    let mut pieces: Vec<TokenStream> = Vec::new();
    let mut piece = TokenStream::new();
    for token in tokens {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ',' => {
                pieces.push(std::mem::take(&mut piece));
            }
            // A value that reaches us through a `macro_rules!` comes in an invisible group.
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
                piece.extend(group.stream());
            }
            other => piece.extend([other]),
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}
