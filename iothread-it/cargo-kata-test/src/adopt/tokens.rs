//! Tokens without their grouping, as words to look for.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// An identifier or keyword.
    Word(String),
    /// The content of a string literal.
    Text(String),
    /// A number, as it is written.
    Number(String),
    /// A character of punctuation, or an opening bracket.
    Sign(char),
}

/// Returns the tokens of a piece of code. A closing bracket is left out.
pub(super) fn flat(code: &impl ToTokens) -> Vec<Token> {
    let mut tokens = Vec::new();
    flatten(code.to_token_stream(), &mut tokens);
    tokens
}

fn flatten(stream: TokenStream, into: &mut Vec<Token>) {
    for tree in stream {
        match tree {
            TokenTree::Group(group) => {
                into.push(Token::Sign(match group.delimiter() {
                    proc_macro2::Delimiter::Brace => '{',
                    proc_macro2::Delimiter::Bracket => '[',
                    _ => '(',
                }));
                flatten(group.stream(), into);
            }
            TokenTree::Ident(word) => into.push(Token::Word(word.to_string())),
            TokenTree::Punct(sign) => into.push(Token::Sign(sign.as_char())),
            TokenTree::Literal(literal) => match syn::parse_str::<syn::Lit>(&literal.to_string()) {
                Ok(syn::Lit::Str(text)) => into.push(Token::Text(text.value())),
                Ok(syn::Lit::CStr(text)) => {
                    into.push(Token::Text(text.value().to_string_lossy().into_owned()));
                }
                _ => into.push(Token::Number(literal.to_string())),
            },
        }
    }
}

/// Returns the words.
pub(super) fn words(tokens: &[Token]) -> impl Iterator<Item = &str> {
    tokens.iter().filter_map(|token| match token {
        Token::Word(word) => Some(word.as_str()),
        _ => None,
    })
}

/// Returns whether a message among these tokens tells of a skip.
pub(super) fn tells_of_a_skip(tokens: &[Token]) -> bool {
    tokens
        .iter()
        .any(|token| matches!(token, Token::Text(text) if mentions_a_skip(text)))
}

/// Returns whether a message or a comment tells of a skip.
pub(super) fn mentions_a_skip(text: &str) -> bool {
    const PHRASES: [&str; 12] = [
        "skip",
        "ignored because",
        "ignoring it",
        "not supported",
        "unsupported",
        "not available",
        "unavailable",
        "not installed",
        "requires root",
        "require root",
        "need root",
        "needs root",
    ];
    let text = text.to_lowercase();
    PHRASES.iter().any(|phrase| text.contains(phrase))
}
