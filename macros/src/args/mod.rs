//! The arguments of the attribute: constraints, and metadata of the test.

mod argument;
mod needs;

#[cfg(test)]
mod tests;

use proc_macro2::{Ident, TokenStream};
use syn::ext::IdentExt;
use syn::{Error, LitStr};

use crate::need::Need;
use argument::{Argument, arguments};
use needs::need;

/// The keys of metadata.
const METADATA: [&str; 6] = [
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
            "crate" => value.path(&name).map(|path| self.krate = Some(path)),
            _ => {
                self.needs.extend(need(name, value, errors));
                Ok(())
            }
        };
        errors.extend(result.err());
    }
}
