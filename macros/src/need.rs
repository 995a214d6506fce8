//! A constraint as the attribute states it, and the constants for it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};

use crate::version::private;

/// A constraint, or several of them in one of the lists.
pub(crate) enum Need {
    /// The constructor's name as the user wrote it, and its arguments.
    Atom { name: Ident, args: TokenStream },
    /// One of several values of a constructor: `name("a", "b")`.
    Value {
        name: Ident,
        value: TokenStream,
        place: Span,
    },
    /// A list and its parts.
    Group(Group, Vec<Need>),
}

/// The operators.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Group {
    All,
    Any,
    Not,
}

impl Group {
    pub(crate) fn of(name: &Ident) -> Option<Self> {
        match name.to_string().as_str() {
            "all" => Some(Self::All),
            "any" => Some(Self::Any),
            "not" => Some(Self::Not),
            _ => None,
        }
    }
}

/// Groups several constraints by `all`.
pub(crate) fn many(mut needs: Vec<Need>) -> Option<Need> {
    match needs.len() {
        0 => None,
        1 => needs.pop(),
        _ => Some(Need::Group(Group::All, needs)),
    }
}

/// Declares a constant for each constraint, and returns the name of the list of those on the top level,
/// if there are any.
///
/// rustc reports the first panic of a constant only, so a bad value in one of them hides no other.
/// A check for contradictions follows each: it carries the span of the later of the two.
pub(crate) fn consts(krate: &TokenStream, needs: &[Need]) -> (TokenStream, Option<Ident>) {
    let mut writer = Writer {
        krate,
        consts: TokenStream::new(),
        count: 0,
    };
    let names: Vec<Ident> = needs.iter().map(|need| writer.need(need)).collect();
    if names.is_empty() {
        return (writer.consts, None);
    }
    let all = writer.all(&names);
    for (index, need) in needs.iter().enumerate().skip(1) {
        writer.agree(&all, index, need);
    }
    (writer.consts, Some(all))
}

struct Writer<'a> {
    krate: &'a TokenStream,
    consts: TokenStream,
    count: usize,
}

impl Writer<'_> {
    fn need(&mut self, need: &Need) -> Ident {
        match need {
            Need::Atom { name, args } => {
                // All of it carries the span of the atom's name, which is what the message of a
                // constructor then points at.
                let span = name.span();
                let krate = at(span, self.krate);
                self.declare(
                    span,
                    quote_spanned!(span => #krate::constraint::#name(#args)),
                )
            }
            Need::Value { name, value, place } => {
                // The error points at a bad value, or at an unknown name.
                let krate = at(name.span(), self.krate);
                let path = quote_spanned!(name.span() => #krate::constraint::#name);
                self.declare(
                    *place,
                    quote_spanned!(*place => { use #path as constructor; constructor(#value) }),
                )
            }
            Need::Group(group, of) => {
                let of: Vec<Ident> = of.iter().map(|need| self.need(need)).collect();
                let krate = self.krate;
                let value = match group {
                    Group::All => quote!(#krate::constraint::Constraint::All(&[#(#of),*])),
                    Group::Any => quote!(#krate::constraint::Constraint::Any(&[#(#of),*])),
                    Group::Not => quote!(#krate::constraint::Constraint::Not(&#(#of)*)),
                };
                self.declare(Span::mixed_site(), value)
            }
        }
    }

    fn declare(&mut self, span: Span, value: TokenStream) -> Ident {
        // The underscore keeps the constant from being reported as unused outside of tests.
        let constant = format_ident!("_C{}", self.count, span = Span::mixed_site());
        self.count += 1;
        let krate = self.krate;
        let ty = quote_spanned!(Span::mixed_site() => #krate::constraint::Constraint);
        self.consts
            .extend(quote_spanned! { span => const #constant: #ty = #value; });
        constant
    }

    /// The list of all constraints.
    fn all(&mut self, names: &[Ident]) -> Ident {
        let all = Ident::new("_ALL", Span::mixed_site());
        let krate = self.krate;
        self.consts.extend(quote_spanned! { Span::mixed_site() =>
            const #all: &[#krate::constraint::Constraint] = &[#(#names),*];
        });
        all
    }

    /// A contradiction between a constraint and those before it is reported at the constraint.
    fn agree(&mut self, all: &Ident, index: usize, need: &Need) {
        let span = match need {
            Need::Atom { name, .. } => name.span(),
            Need::Value { place, .. } => *place,
            Need::Group(..) => Span::mixed_site(),
        };
        let private = private(&at(span, self.krate), span);
        self.consts.extend(quote_spanned! { span =>
            const _: () = #private::assert_consistent(#all, #index);
        });
    }
}

/// The same tokens at another place: the span of a call begins where its path begins.
pub(crate) fn at(span: Span, tokens: &TokenStream) -> TokenStream {
    let moved = tokens.clone().into_iter().map(|mut token| {
        token.set_span(span.resolved_at(token.span()));
        token
    });
    moved.collect()
}
