//! What stands between the attribute's parentheses: atoms to pass on, and a few keys of our own.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Expr, ExprLit, Lit, LitStr, Path, Token};

use crate::need::{Group, Need, many};

/// The keys that say something about a test instead of asking something of the host.
const METADATA: [&str; 5] = ["issue", "reason", "timeout", "serial", "crate"];

/// Everything the attribute said.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) needs: Vec<Need>,
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
        for argument in arguments(tokens) {
            match argument {
                Ok(argument) => args.add(argument, &mut errors),
                Err(error) => errors.push(error),
            }
        }
        (args, errors)
    }

    fn add(&mut self, Argument { name, value }: Argument, errors: &mut Vec<Error>) {
        let result = match name.unraw().to_string().as_str() {
            "issue" => value.text(&name).map(|text| self.issue = Some(text)),
            "reason" => value.text(&name).map(|text| self.reason = Some(text)),
            "timeout" => value.text(&name).map(|text| self.timeout = Some(text)),
            "serial" => value.text(&name).map(|text| self.serial = Some(text)),
            "crate" => value.path(&name).map(|path| self.krate = Some(path)),
            _ => {
                self.needs.extend(need(name, value, errors));
                Ok(())
            }
        };
        errors.extend(result.err());
    }
}

/// Reads one list, and refuses what stands in it twice.
fn arguments(tokens: TokenStream) -> Vec<syn::Result<Argument>> {
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

/// Maps an argument to what it needs; a list to what each of its parts needs.
fn need(name: Ident, value: Value, errors: &mut Vec<Error>) -> Option<Need> {
    if let Value::List(list) = value {
        return match Group::of(&name) {
            Some(group) => grouped(group, name, list, errors),
            None => values(&name, list, errors),
        };
    }
    if Group::of(&name).is_some() {
        let message = format!("`{name}` needs a list: `{name}(…)`");
        errors.push(Error::new(name.span(), message));
        return None;
    }
    atom(name, value).map_err(|error| errors.push(error)).ok()
}

/// `all(…)`, `any(…)`, `not(…)`.
fn grouped(group: Group, name: Ident, list: TokenStream, errors: &mut Vec<Error>) -> Option<Need> {
    let before = errors.len();
    let mut of = Vec::new();
    for argument in arguments(list) {
        match argument {
            Ok(Argument { name, .. }) if METADATA.contains(&name.unraw().to_string().as_str()) => {
                let message =
                    format!("`{name}` is about the whole test: state it outside of any list");
                errors.push(Error::new(name.span(), message));
            }
            Ok(Argument { name, value }) => of.extend(need(name, value, errors)),
            Err(error) => errors.push(error),
        }
    }
    if errors.len() > before {
        // What could be read is kept, so that rustc reports its mistakes as well.
        return many(of);
    }
    match (group, of.len()) {
        (_, 0) => {
            let message = format!("`{name}()` has nothing in it");
            errors.push(Error::new(name.span(), message));
            None
        }
        (Group::Not, 2..) => {
            let message = "`not` takes one constraint: write `not(all(…))` or `not(any(…))`";
            errors.push(Error::new(name.span(), message));
            many(of)
        }
        _ => Some(Need::Group(group, of)),
    }
}

/// `name("a", "b")`, which is `name = "a", name = "b"`.
fn values(name: &Ident, list: TokenStream, errors: &mut Vec<Error>) -> Option<Need> {
    let before = errors.len();
    let mut atoms = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for piece in split_at_commas(list) {
        let written = piece.to_string();
        match syn::parse2::<Lit>(piece.clone()) {
            Ok(_) if seen.contains(&written) => {
                errors.push(Error::new_spanned(piece, "this value is stated twice"));
            }
            Ok(_) => {
                seen.push(written);
                let name = name.clone();
                atoms.push(Need::Atom { name, args: piece });
            }
            Err(_) => {
                let message = format!(
                    "expected the values of `{name}` here: constraints are grouped by `all(…)`, \
                     `any(…)` and `not(…)`"
                );
                errors.push(Error::new_spanned(piece, message));
            }
        }
    }
    if atoms.is_empty() && errors.len() == before {
        let message = format!("`{name}()` has nothing in it");
        errors.push(Error::new(name.span(), message));
    }
    many(atoms)
}

/// Maps an argument to a constructor's call. A path is passed with its own text before it, since a
/// function cannot be asked for its name.
fn atom(name: Ident, value: Value) -> syn::Result<Need> {
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
        Value::List(list) => list,
    };
    Ok(Need::Atom { name, args })
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

    fn shown(needs: &[Need]) -> String {
        let one = |need: &Need| match need {
            Need::Atom { name, args } => format!("{name}({args})"),
            Need::Group(group, of) => format!("{group:?}[{}]", shown(of)),
        };
        needs.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn lists_nest() {
        let (args, errors) =
            read(r#"any(root, not(all(kvm, command = "a"))), caps("X", "Y"), command("b")"#);
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(
            shown(&args.needs),
            r#"Any[root(), Not[All[kvm(), command("a")]]], All[caps("X"), caps("Y")], command("b")"#
        );
    }

    #[test]
    fn bad_lists_are_reported_and_their_good_parts_kept() {
        let (args, errors) = read(
            r#"any(), not(root, kvm), any(kvm, kvm, issue = "x"), caps("X", "X"), al(root), all, caps()"#,
        );
        assert_eq!(
            shown(&args.needs),
            r#"All[root(), kvm()], kvm(), caps("X")"#
        );
        assert_eq!(
            errors,
            [
                "`any()` has nothing in it",
                "`not` takes one constraint: write `not(all(…))` or `not(any(…))`",
                "`kvm` is stated twice",
                "`issue` is about the whole test: state it outside of any list",
                "this value is stated twice",
                "expected the values of `al` here: constraints are grouped by `all(…)`, `any(…)` and `not(…)`",
                "`all` needs a list: `all(…)`",
                "`caps()` has nothing in it",
            ]
        );
    }

    #[test]
    fn atoms_keep_their_order_and_metadata_is_taken_out() {
        let (args, errors) = read(
            r#"root, issue = "x/1", kernel_ge = "5.0", when = a::b, crate = ::k, reason = "r","#,
        );
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(
            shown(&args.needs),
            r#"root(), kernel_ge("5.0"), when("a::b" , a :: b)"#
        );
        assert_eq!(args.issue.map(|text| text.value()).as_deref(), Some("x/1"));
        assert_eq!(args.reason.map(|text| text.value()).as_deref(), Some("r"));
        assert!(args.krate.is_some());
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let (args, errors) = read(r#"root, , kvm kvm, issue = 3, root, command =, isue = "x""#);
        assert_eq!(args.needs.len(), 1);
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
        assert_eq!((args.needs.len(), errors.len()), (2, 0));
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
