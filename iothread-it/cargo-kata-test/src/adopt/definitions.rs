//! The functions and macros of the searched files by which tests look at the host.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};
use syn::{File, ItemFn, ItemMacro, ReturnType, Type};

use super::finder::items_in;
use super::host_check::{HostCheck, host_checks, is_call};
use super::tokens::{Token, flat, tells_of_a_skip, words};

/// Macros of test suites that return, if they are defined elsewhere: their name, and their requirement.
/// `{}` stands for the last text among the arguments.
const KNOWN: [(&str, Option<&str>); 14] = [
    ("skip_if_root", Some("non_root")),
    ("skip_if_not_root", Some("root")),
    ("skip_if_kvm_unaccessable", Some("kvm")),
    ("skip_loop_if_root", Some("non_root")),
    ("skip_loop_if_not_root", Some("root")),
    ("skip_loop_by_user", None),
    ("skip_if_seccomp", None),
    ("skip_if_jailed", None),
    ("skip", None),
    ("require_mount", Some("root")),
    ("require_largefile", None),
    ("require_kernel_version", Some("kernel = {}")),
    ("require_kernel_module", Some("module = {}")),
    ("kernel_assert", None),
];

/// A macro that can end the function that uses it.
#[derive(Debug, Default, Clone)]
pub(super) struct ReturningMacro {
    /// What it looks at.
    pub(super) checks: Vec<HostCheck>,
    /// Whether it prints that it skips.
    pub(super) tells: bool,
    /// The requirement, of a well-known macro.
    pub(super) requirement: Option<&'static str>,
}

impl ReturningMacro {
    /// Returns whether it ends a test because of the host.
    pub(super) fn is_skip(&self) -> bool {
        self.tells || !self.checks.is_empty() || self.requirement.is_some()
    }
}

/// What the names of the searched files refer to.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    functions: BTreeMap<String, Vec<HostCheck>>,
    macros: BTreeMap<String, ReturningMacro>,
}

impl Definitions {
    /// Collects the definitions of files. A function or macro that uses another one looks at the same.
    pub(super) fn of<'a>(files: impl Iterator<Item = &'a File>) -> Self {
        let mut bodies = Bodies::default();
        files.for_each(|file| bodies.visit_file(file));
        let mut definitions = Self::default();
        loop {
            let before = definitions.size();
            for (name, tokens) in &bodies.functions {
                let checks = host_checks(tokens, &definitions);
                if !checks.is_empty() {
                    definitions.functions.insert(name.clone(), checks);
                }
            }
            for (name, tokens) in &bodies.macros {
                if definitions.returns(tokens) {
                    let found = definitions.returning(tokens);
                    definitions.macros.insert(name.clone(), found);
                }
            }
            // Both only grow.
            if definitions.size() == before {
                return definitions;
            }
        }
    }

    fn size(&self) -> usize {
        let checks = self
            .functions
            .values()
            .chain(self.macros.values().map(|found| &found.checks));
        checks.map(Vec::len).sum::<usize>() + self.macros.len()
    }

    fn returns(&self, tokens: &[Token]) -> bool {
        let called = tokens.windows(2).any(|pair| match pair {
            [Token::Word(name), Token::Sign('!')] => self.returning_macro(name).is_some(),
            _ => false,
        });
        called || words(tokens).any(|word| word == "return" || word == "continue")
    }

    fn returning(&self, tokens: &[Token]) -> ReturningMacro {
        let mut checks = host_checks(tokens, self);
        // The name of a macro's own fragment, such as `$skip`, is no call.
        checks.retain(|check| *check != HostCheck::ByName);
        ReturningMacro {
            checks,
            tells: tells_of_a_skip(tokens),
            requirement: None,
        }
    }

    /// Returns a macro that can end the function that uses it.
    pub(super) fn returning_macro(&self, name: &str) -> Option<ReturningMacro> {
        let known = KNOWN.iter().find(|(known, _)| *known == name);
        let found = self.macros.get(name).cloned();
        let mut found = match (found, known) {
            (Some(found), _) => found,
            (None, Some(_)) => ReturningMacro {
                tells: true,
                ..ReturningMacro::default()
            },
            (None, None) => return None,
        };
        found.requirement = known.and_then(|(_, requirement)| *requirement);
        Some(found)
    }

    /// Returns what a call of a function looks at, if there is one at this token.
    pub(super) fn checks_of_call(&self, tokens: &[Token], at: usize) -> &[HostCheck] {
        match &tokens[at] {
            Token::Word(name) if is_call(&tokens[at + 1..]) => {
                self.functions.get(name).map_or(&[], Vec::as_slice)
            }
            _ => &[],
        }
    }
}

/// The bodies of functions that answer yes or no, and of macros.
#[derive(Default)]
struct Bodies {
    functions: Vec<(String, Vec<Token>)>,
    macros: Vec<(String, Vec<Token>)>,
}

impl<'ast> Visit<'ast> for Bodies {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        if answers_yes_or_no(&function.sig.output) {
            let name = function.sig.ident.to_string();
            self.functions.push((name, flat(&function.block)));
        }
        visit::visit_item_fn(self, function);
    }

    fn visit_item_macro(&mut self, item: &'ast ItemMacro) {
        match &item.ident {
            Some(name) => self.macros.push((name.to_string(), flat(&item.mac.tokens))),
            None => {
                for file in items_in(&item.mac) {
                    let mut inner = Bodies::default();
                    inner.visit_file(&file);
                    self.functions.extend(inner.functions);
                    self.macros.extend(inner.macros);
                }
            }
        }
    }
}

fn answers_yes_or_no(output: &ReturnType) -> bool {
    match output {
        ReturnType::Type(_, of) => match &**of {
            Type::Path(path) => path.path.is_ident("bool"),
            _ => false,
        },
        ReturnType::Default => false,
    }
}
