//! What stands between the attribute's parentheses: atoms to pass on, and a few keys of our own.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Expr, ExprLit, Lit, LitStr, Path, Token};

/// The keys that say something about a test instead of asking something of the host.
const METADATA: [&str; 5] = ["issue", "reason", "timeout", "serial", "crate"];

/// One constraint: the constructor's name as the user wrote it, and what to call it with.
pub(crate) struct Atom {
    pub(crate) name: Ident,
    pub(crate) args: TokenStream,
}

/// Everything the attribute said.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) atoms: Vec<Atom>,
    pub(crate) issue: Option<LitStr>,
    pub(crate) reason: Option<LitStr>,
    pub(crate) timeout: Option<LitStr>,
    pub(crate) serial: Option<LitStr>,
    pub(crate) krate: Option<Path>,
}

impl Args {
    /// Reads the arguments one by one, so that one bad argument hides no other. What could be read
    /// is returned beside the errors: the rest of the expansion is built from it.
    pub(crate) fn read(tokens: TokenStream) -> (Self, Vec<Error>) {
        let mut args = Self::default();
        let mut errors = Vec::new();
        let mut seen = Vec::new();
        for piece in split_at_commas(tokens) {
            match syn::parse2::<Argument>(piece) {
                Ok(argument) => args.add(argument, &mut seen, &mut errors),
                Err(error) => errors.push(error),
            }
        }
        (args, errors)
    }

    fn add(&mut self, argument: Argument, seen: &mut Vec<String>, errors: &mut Vec<Error>) {
        let Argument { name, value } = argument;
        let key = name.unraw().to_string();
        let written = format!("{key} {}", value.to_token_stream());
        let twice = if METADATA.contains(&key.as_str()) {
            seen.iter()
                .any(|other| other.split(' ').next() == Some(key.as_str()))
        } else {
            seen.contains(&written)
        };
        seen.push(written);
        if twice {
            errors.push(Error::new(name.span(), format!("`{key}` is stated twice")));
            return;
        }
        let result = match key.as_str() {
            "issue" => value.text(&name).map(|text| self.issue = Some(text)),
            "reason" => value.text(&name).map(|text| self.reason = Some(text)),
            "timeout" => value.text(&name).map(|text| self.timeout = Some(text)),
            "serial" => value.text(&name).map(|text| self.serial = Some(text)),
            "crate" => value.path(&name).map(|path| self.krate = Some(path)),
            _ => atom(name, value).map(|atom| self.atoms.push(atom)),
        };
        errors.extend(result.err());
    }
}

/// `name` or `name = value`.
struct Argument {
    name: Ident,
    value: Value,
}

enum Value {
    /// Nothing: the atom is a flag.
    None,
    Text(LitStr),
    Number(Lit),
    Path(Path),
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
        }
    }
}

impl Value {
    fn text(self, name: &Ident) -> syn::Result<LitStr> {
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

    fn path(self, name: &Ident) -> syn::Result<Path> {
        match self {
            Self::Path(path) => Ok(path),
            _ => Err(Error::new(
                name.span(),
                format!("`{name}` needs a path: `{name} = some::path`"),
            )),
        }
    }
}

/// Maps an argument to a constructor's call. A path is passed with its own text before it, since a
/// function cannot be asked for its name.
fn atom(name: Ident, value: Value) -> syn::Result<Atom> {
    if let Some(meant) = mistyped_metadata(&name) {
        let message = format!("no constraint is called `{name}`; did you mean `{meant}`?");
        return Err(Error::new(name.span(), message));
    }
    let args = match value {
        Value::None => TokenStream::new(),
        Value::Text(text) => quote!(#text),
        Value::Number(lit) => quote!(#lit),
        Value::Path(path) => {
            let text = path.to_token_stream().to_string().replace(' ', "");
            quote!(#text, #path)
        }
    };
    Ok(Atom { name, args })
}

/// A metadata key that differs from the name by one letter: rustc, which suggests functions, cannot
/// suggest these.
fn mistyped_metadata(name: &Ident) -> Option<&'static str> {
    let name = name.to_string();
    METADATA.into_iter().find(|key| one_edit_apart(&name, key))
}

fn one_edit_apart(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let same_start = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[same_start..], &b[same_start..]);
    let same_end = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    match (&a[..a.len() - same_end], &b[..b.len() - same_end]) {
        ([_], [_]) | ([], [_]) | ([_], []) => true,
        ([w, x], [y, z]) => w == z && x == y,
        _ => false,
    }
}

/// Splits at the commas that stand outside of any bracket.
fn split_at_commas(tokens: TokenStream) -> Vec<TokenStream> {
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

#[cfg(test)]
mod tests {
    //! Scope: reading and collecting. What rustc reports is covered by the UI tests of kata-test.

    use super::*;

    fn read(text: &str) -> (Args, Vec<String>) {
        let (args, errors) = Args::read(text.parse().expect("tokens"));
        (
            args,
            errors.into_iter().map(|error| error.to_string()).collect(),
        )
    }

    #[test]
    fn atoms_keep_their_order_and_metadata_is_taken_out() {
        let (args, errors) = read(
            r#"root, issue = "x/1", kernel_ge = "5.0", when = a::b, crate = ::k, reason = "r","#,
        );
        assert_eq!(errors, Vec::<String>::new());
        let atoms: Vec<_> = args
            .atoms
            .iter()
            .map(|atom| format!("{}({})", atom.name, atom.args))
            .collect();
        assert_eq!(
            atoms,
            ["root()", r#"kernel_ge("5.0")"#, r#"when("a::b" , a :: b)"#]
        );
        assert_eq!(args.issue.map(|text| text.value()).as_deref(), Some("x/1"));
        assert_eq!(args.reason.map(|text| text.value()).as_deref(), Some("r"));
        assert!(args.krate.is_some());
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let (args, errors) = read(r#"root, , kvm kvm, issue = 3, root, command =, isue = "x""#);
        assert_eq!(args.atoms.len(), 1);
        assert_eq!(
            errors,
            [
                "expected a constraint: `name` or `name = value`",
                "expected `,` or `= value` after `kvm`",
                "`issue` needs a text: `issue = \"…\"`",
                "`root` is stated twice",
                "`command =` has no value",
                "no constraint is called `isue`; did you mean `issue`?",
            ]
        );
    }

    #[test]
    fn a_range_is_no_duplicate() {
        let (args, errors) = read(r#"kernel_ge = "5.0", kernel_ge = "6.0""#);
        assert_eq!((args.atoms.len(), errors.len()), (2, 0));
    }

    #[test]
    fn one_edit() {
        assert!(one_edit_apart("isue", "issue"));
        assert!(one_edit_apart("reasom", "reason"));
        assert!(one_edit_apart("resaon", "reason"));
        assert!(!one_edit_apart("issue", "issue"));
        assert!(!one_edit_apart("root", "reason"));
    }
}
