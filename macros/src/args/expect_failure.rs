//! Reads `expect_failure(…)`: when a test has to fail, and how.

use proc_macro2::{Ident, TokenStream};
use syn::ext::IdentExt;
use syn::{Error, LitStr};

use super::METADATA;
use super::argument::{Argument, Value, arguments};
use super::needs::need;
use crate::need::Need;

/// The arguments of one `expect_failure`.
#[derive(Default)]
pub(crate) struct ExpectedFailure {
    pub(crate) needs: Vec<Need>,
    pub(crate) issue: Option<LitStr>,
    pub(crate) message: Option<LitStr>,
    pub(crate) crash: bool,
    pub(crate) timeout: bool,
    pub(crate) sometimes: bool,
}

impl ExpectedFailure {
    /// Reads it, and reports every error.
    pub(super) fn read(name: &Ident, value: Value, errors: &mut Vec<Error>) -> Self {
        let mut expected = Self::default();
        let list = match value {
            Value::None => TokenStream::new(),
            Value::List(list) => list,
            _ => {
                let message =
                    "`expect_failure` takes a list: `expect_failure(kernel_lt = \"6.5\")`";
                errors.push(Error::new(name.span(), message));
                return expected;
            }
        };
        for argument in arguments(list) {
            let added = argument.and_then(|argument| expected.add(argument, errors));
            errors.extend(added.err());
        }
        expected
    }

    fn add(
        &mut self,
        Argument { name, value }: Argument,
        errors: &mut Vec<Error>,
    ) -> syn::Result<()> {
        match name.unraw().to_string().as_str() {
            "issue" => self.issue = Some(value.text(&name)?),
            "message" if self.message.is_some() => {
                return Err(Error::new(name.span(), "duplicate `message`"));
            }
            "message" => self.message = Some(value.text(&name)?),
            "crash" => value.nothing(&name).map(|()| self.crash = true)?,
            "timeout" => value.nothing(&name).map(|()| self.timeout = true)?,
            "sometimes" => value.nothing(&name).map(|()| self.sometimes = true)?,
            key if METADATA.contains(&key) => {
                let message = format!(
                    "`{name}` is metadata of the test: state it outside of `expect_failure(…)`"
                );
                return Err(Error::new(name.span(), message));
            }
            _ => self.needs.extend(need(name, value, errors)),
        }
        Ok(())
    }
}
