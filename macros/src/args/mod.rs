//! The arguments of the attribute: constraints, and metadata of the test.

mod argument;
mod expect_failure;
mod needs;

#[cfg(test)]
mod tests;

use proc_macro2::{Ident, TokenStream};
use syn::ext::IdentExt;
use syn::{Error, LitInt, LitStr};

use crate::need::Need;
use argument::{Argument, Value, arguments};
pub(crate) use expect_failure::ExpectedFailure;
use needs::need;

/// The keys of metadata.
const METADATA: [&str; 9] = [
    "expect_failure",
    "unstable",
    "retries",
    "issue",
    "reason",
    "timeout",
    "serial",
    "own_machine",
    "crate",
];

/// The arguments.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) needs: Vec<Need>,
    pub(crate) issue: Option<LitStr>,
    pub(crate) reason: Option<LitStr>,
    pub(crate) timeout: Option<LitStr>,
    pub(crate) serial: Option<LitStr>,
    pub(crate) own_machine: bool,
    pub(crate) expected: Vec<ExpectedFailure>,
    /// The reason of `unstable`.
    pub(crate) unstable: Option<LitStr>,
    pub(crate) retries: Option<LitInt>,
    /// The metadata keys that were stated, without `crate`.
    pub(crate) metadata: Vec<Ident>,
    pub(crate) krate: Option<TokenStream>,
}

impl Args {
    /// Reads the arguments one by one, and reports every error. What could be read is returned too, for
    /// the rest of the expansion.
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
        let key = name.unraw().to_string();
        if METADATA.contains(&key.as_str()) && key != "crate" {
            self.metadata.push(name.clone());
        }
        let result = match key.as_str() {
            "issue" => value.text(&name).map(|text| self.issue = Some(text)),
            "reason" => value.text(&name).map(|text| self.reason = Some(text)),
            "timeout" => value.text(&name).map(|text| self.timeout = Some(text)),
            "serial" => value.text(&name).map(|text| self.serial = Some(text)),
            "own_machine" => value.nothing(&name).map(|()| self.own_machine = true),
            "expect_failure" => {
                let expected = ExpectedFailure::read(&name, value, errors);
                self.expected.push(expected);
                Ok(())
            }
            "unstable" => unstable(&name, value).map(|reason| self.unstable = Some(reason)),
            "retries" => value.count(&name).map(|count| self.retries = Some(count)),
            "crate" => value.path(&name).map(|path| self.krate = Some(path)),
            _ => {
                self.needs.extend(need(name, value, errors));
                Ok(())
            }
        };
        errors.extend(result.err());
    }
}

/// Reads `unstable(reason = "…")`, whose reason is required.
fn unstable(name: &Ident, value: Value) -> syn::Result<LitStr> {
    let message = "`unstable` needs a reason: `unstable(reason = \"…\")`";
    let Value::List(list) = value else {
        return Err(Error::new(name.span(), message));
    };
    let mut reason = None;
    for argument in arguments(list) {
        let Argument { name, value } = argument?;
        if name != "reason" {
            return Err(Error::new(name.span(), message));
        }
        reason = Some(value.text(&name)?);
    }
    reason.ok_or_else(|| Error::new(name.span(), message))
}
