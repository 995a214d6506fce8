//! Reads constraints from arguments.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote};
use syn::Error;
use syn::ext::IdentExt;

use super::METADATA;
use super::argument::{Argument, Value, arguments, literal, split_at_commas};
use crate::need::{Group, Need, many};
use crate::tokens::{path_text, stream};

/// Maps an argument to a constraint, and the parts of a list.
pub(super) fn need(name: Ident, value: Value, errors: &mut Vec<Error>) -> Option<Need> {
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
                let message = format!(
                    "`{name}` is metadata of the test: state it outside of `all(…)`, `any(…)` and `not(…)`"
                );
                errors.push(Error::new(name.span(), message));
            }
            Ok(Argument { name, value }) => of.extend(need(name, value, errors)),
            Err(error) => errors.push(error),
        }
    }
    if errors.len() > before {
        // Valid parts are kept, so that rustc reports errors in them as well.
        return many(of);
    }
    match (group, of.len()) {
        (_, 0) => {
            let message = format!("`{name}()` is empty");
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
    if let Some(error) = mistyped(name) {
        errors.push(error);
        return None;
    }
    let before = errors.len();
    let mut atoms = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for piece in split_at_commas(list) {
        let value = stream(&piece);
        let written = value.to_string();
        if literal(&piece).is_none() {
            let message = format!(
                "expected the values of `{name}` here: constraints are grouped by `all(…)`, \
                 `any(…)` and `not(…)`"
            );
            errors.push(Error::new_spanned(value, message));
        } else if seen.contains(&written) {
            errors.push(Error::new_spanned(value, "duplicate value"));
        } else {
            seen.push(written);
            let name = name.clone();
            let place = piece[0].span();
            atoms.push(Need::Value { name, value, place });
        }
    }
    if atoms.is_empty() && errors.len() == before {
        let message = format!("`{name}()` is empty");
        errors.push(Error::new(name.span(), message));
    }
    many(atoms)
}

/// Maps an argument to a constructor's call. A path is passed with its text, which is its name in reasons.
fn atom(name: Ident, value: Value) -> syn::Result<Need> {
    if let Some(error) = mistyped(&name) {
        return Err(error);
    }
    let args = match value {
        Value::Path(path) => {
            let text = path_text(&path);
            quote!(#text, #(#path)*)
        }
        value => value.into_token_stream(),
    };
    Ok(Need::Atom { name, args })
}

/// The error of a name that is nearly one of a metadata key.
fn mistyped(name: &Ident) -> Option<Error> {
    let meant = mistyped_metadata(name)?;
    let message = format!("unknown constraint `{name}`; did you mean `{meant}`?");
    Some(Error::new(name.span(), message))
}

/// Returns the metadata key that differs from a name by one edit. rustc suggests functions, and not these.
fn mistyped_metadata(name: &Ident) -> Option<&'static str> {
    let name = name.to_string();
    METADATA.into_iter().find(|key| one_edit_apart(&name, key))
}

pub(super) fn one_edit_apart(a: &str, b: &str) -> bool {
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
