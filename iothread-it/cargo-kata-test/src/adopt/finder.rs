//! The search in the functions of a file.

use std::collections::BTreeMap;
use std::path::Path;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{
    Attribute, BinOp, Block, Expr, ExprClosure, ExprIf, ExprMatch, File, Item, ItemFn, ItemMacro,
    ItemMod, Local, Macro, Pat, ReturnType, Stmt, UnOp,
};

use super::EarlyReturn;
use super::definitions::Definitions;
use super::host_check::{HostCheck, host_checks};
use super::instead::attribute;
use super::tokens::{Token, flat, mentions_a_skip, tells_of_a_skip, words};

/// Finds the early returns of a file.
pub(super) fn find(
    path: &Path,
    file: &File,
    definitions: &Definitions,
    found: &mut Vec<EarlyReturn>,
) {
    let is_test_file = path.components().any(|part| {
        let part = part.as_os_str();
        part == "tests" || part == "test"
    });
    let mut functions = Functions {
        path,
        definitions,
        modules: Vec::new(),
        is_test_code: is_test_file,
        found,
    };
    functions.visit_file(file);
}

/// Returns the items in the braces of a macro such as `cfg_if!`, as files.
pub(super) fn items_in(mac: &Macro) -> Vec<File> {
    fn collect(tokens: TokenStream, files: &mut Vec<File>) {
        match syn::parse2::<File>(tokens.clone()) {
            Ok(file) if !file.items.is_empty() => files.push(file),
            _ => {
                for tree in tokens {
                    if let TokenTree::Group(group) = tree {
                        collect(group.stream(), files);
                    }
                }
            }
        }
    }
    let mut files = Vec::new();
    collect(mac.tokens.clone(), &mut files);
    files
}

/// Goes through the functions of a file.
struct Functions<'a> {
    path: &'a Path,
    definitions: &'a Definitions,
    modules: Vec<String>,
    /// Whether a function that returns nothing is a helper of tests.
    is_test_code: bool,
    found: &'a mut Vec<EarlyReturn>,
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let outside = self.is_test_code;
        self.is_test_code |= module.attrs.iter().any(is_cfg_test);
        self.modules.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.modules.pop();
        self.is_test_code = outside;
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        let is_helper = self.is_test_code && matches!(function.sig.output, ReturnType::Default);
        if function.attrs.iter().any(is_test) || is_helper {
            let name = function.sig.ident.to_string();
            let path = self.modules.iter().cloned().chain([name]);
            let mut returns = Returns {
                definitions: self.definitions,
                variables: BTreeMap::new(),
                found: Vec::new(),
            };
            returns.visit_block(&function.block);
            returns.look_at_the_whole(&function.block);
            let function = path.collect::<Vec<_>>().join("::");
            self.found
                .extend(returns.found.into_iter().map(|found| EarlyReturn {
                    file: self.path.to_owned(),
                    line: found.line,
                    function: function.clone(),
                    code: found.code,
                    attribute: found.attribute,
                }));
        }
        visit::visit_item_fn(self, function);
    }

    fn visit_item_macro(&mut self, item: &'ast ItemMacro) {
        if item.ident.is_none() {
            for file in items_in(&item.mac) {
                self.visit_file(&file);
            }
        }
    }
}

/// Returns whether an attribute makes a test: `#[test]`, `#[tokio::test]`, `#[rstest]` and others.
fn is_test(attribute: &Attribute) -> bool {
    let last = attribute.path().segments.last();
    last.is_some_and(|last| {
        let name = last.ident.to_string();
        name == "test" || name == "rstest" || name.ends_with("_test") || name == "test_case"
    })
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") && words(&flat(attribute)).any(|word| word == "test")
}

struct Found {
    line: usize,
    code: String,
    attribute: Option<String>,
}

/// Goes through one function.
struct Returns<'a> {
    definitions: &'a Definitions,
    /// The variables that were made from something of the host.
    variables: BTreeMap<String, Vec<HostCheck>>,
    found: Vec<Found>,
}

impl Returns<'_> {
    /// Notes a branch that leaves the function, if the host decides about it. `is_needed`: it is taken if the
    /// condition does not hold. Returns whether it was noted.
    fn note(
        &mut self,
        at: Span,
        condition: &impl ToTokens,
        branch: Branch,
        is_needed: bool,
    ) -> bool {
        let checks = self.checks(condition);
        let is_of_the_host = !checks.is_empty() || (branch.is_reason && !branch.is_continue);
        if is_of_the_host {
            self.found.push(Found {
                line: at.start().line,
                code: code_of(condition),
                attribute: attribute(&checks, is_needed),
            });
        }
        is_of_the_host
    }

    /// Returns what of the host a condition looks at, also by a variable.
    fn checks(&self, condition: &impl ToTokens) -> Vec<HostCheck> {
        let tokens = flat(condition);
        let checks = host_checks(&tokens, self.definitions);
        if !checks.is_empty() {
            return checks;
        }
        let variables = words(&tokens).filter_map(|word| self.variables.get(word));
        variables.flatten().cloned().collect()
    }

    /// Finds a test that is one `if`, and does nothing if it does not hold.
    fn look_at_the_whole(&mut self, block: &Block) {
        let (last, before) = match block.stmts.split_last() {
            Some((Stmt::Expr(Expr::If(last), _), before)) if last.else_branch.is_none() => {
                (last, before)
            }
            _ => return,
        };
        let is_setup = before.iter().all(|stmt| !is_check(&flat(stmt)));
        let checks = self.checks(&last.cond);
        if is_setup && !checks.is_empty() && is_check(&flat(&last.then_branch)) {
            let is_needed = !is_negated(&last.cond);
            self.found.push(Found {
                line: last.if_token.span.start().line,
                code: format!("nothing is done unless {}", code_of(&last.cond)),
                attribute: attribute(&checks, is_needed),
            });
        }
    }

    fn branch(&self, block: &Block) -> Option<Branch> {
        let tokens = flat(block);
        // A test that expects something else on such a host is no skip.
        if is_check(&tokens) {
            return None;
        }
        let is_continue = match block.stmts.last()? {
            Stmt::Expr(expr, _) => leaves(expr)?,
            Stmt::Macro(stmt) => {
                let name = stmt.mac.path.segments.last()?.ident.to_string();
                self.definitions.returning_macro(&name)?;
                false
            }
            Stmt::Local(_) | Stmt::Item(_) => return None,
        };
        let by_macro = tokens.windows(2).any(|pair| match pair {
            [Token::Word(name), Token::Sign('!')] => self
                .definitions
                .returning_macro(name)
                .is_some_and(|found| found.is_skip()),
            _ => false,
        });
        // Also a comment may tell why.
        let text = block.span().source_text().unwrap_or_default();
        Some(Branch {
            is_reason: by_macro || mentions_a_skip(&text),
            is_continue,
        })
    }

    fn branch_of(&self, expr: &Expr) -> Option<Branch> {
        match expr {
            Expr::Block(block) => self.branch(&block.block),
            _ => leaves(expr).map(|is_continue| Branch {
                is_reason: false,
                is_continue,
            }),
        }
    }
}

/// A branch that leaves the function, or the round of a loop.
struct Branch {
    /// Whether it is for lack of something: it says so, or an error leads to it.
    is_reason: bool,
    is_continue: bool,
}

impl Branch {
    /// The branch that is taken after an error, if that is so.
    fn after_an_error(mut self, is_so: bool) -> Self {
        self.is_reason |= is_so;
        self
    }
}

impl<'ast> Visit<'ast> for Returns<'_> {
    fn visit_expr_if(&mut self, expr: &'ast ExprIf) {
        self.visit_expr(&expr.cond);
        let negated = is_negated(&expr.cond);
        let noted = self.branch(&expr.then_branch).is_some_and(|branch| {
            let branch = branch.after_an_error(is_about(&expr.cond, "Err"));
            self.note(expr.if_token.span, &expr.cond, branch, negated)
        });
        if !noted {
            self.visit_block(&expr.then_branch);
        }
        if let Some((token, otherwise)) = &expr.else_branch {
            let noted = self.branch_of(otherwise).is_some_and(|branch| {
                let branch = branch.after_an_error(is_about(&expr.cond, "Ok"));
                self.note(token.span, &expr.cond, branch, !negated)
            });
            if !noted {
                self.visit_expr(otherwise);
            }
        }
    }

    fn visit_local(&mut self, local: &'ast Local) {
        let Some(init) = &local.init else { return };
        self.visit_expr(&init.expr);
        if let Pat::Ident(name) = &local.pat {
            let checks = self.checks(&init.expr);
            self.variables.insert(name.ident.to_string(), checks);
        }
        if let Some((token, otherwise)) = &init.diverge {
            let noted = self.branch_of(otherwise).is_some_and(|branch| {
                let branch = branch.after_an_error(is_variant(&local.pat, "Ok"));
                self.note(token.span, &init.expr, branch, true)
            });
            if !noted {
                self.visit_expr(otherwise);
            }
        }
    }

    fn visit_expr_match(&mut self, expr: &'ast ExprMatch) {
        self.visit_expr(&expr.expr);
        for arm in &expr.arms {
            let noted = self.branch_of(&arm.body).is_some_and(|branch| {
                let (of, pat) = (&expr.expr, &arm.pat);
                let condition = quote::quote!(#of #pat);
                let before = self.found.len();
                let branch = branch.after_an_error(is_variant(pat, "Err"));
                let noted = self.note(pat.span(), &condition, branch, true);
                if let Some(found) = self.found.get_mut(before) {
                    found.code = format!("match {} {{ {} => … }}", code_of(of), code_of(pat));
                }
                noted
            });
            if !noted {
                self.visit_expr(&arm.body);
            }
        }
    }

    fn visit_macro(&mut self, mac: &'ast Macro) {
        let Some(name) = mac.path.segments.last() else {
            return;
        };
        let found = self.definitions.returning_macro(&name.ident.to_string());
        let Some(found) =
            found.filter(|found| found.is_skip() || tells_of_a_skip(&flat(&mac.tokens)))
        else {
            return;
        };
        let mut checks = host_checks(&flat(&mac.tokens), self.definitions);
        if checks.is_empty() {
            checks = found.checks;
        }
        let is_needed = !name.ident.to_string().starts_with("skip_if_")
            || name.ident.to_string().contains("not");
        let attribute = match found.requirement {
            Some(requirement) => requirement_of(requirement, &flat(&mac.tokens)),
            None => attribute(&checks, is_needed),
        };
        self.found.push(Found {
            line: name.ident.span().start().line,
            code: code_of(mac),
            attribute,
        });
    }

    /// What a closure returns from is not the test.
    fn visit_expr_closure(&mut self, _: &'ast ExprClosure) {}

    /// Functions in functions have their own visit.
    fn visit_item(&mut self, _: &'ast Item) {}
}

/// Returns the attribute of a well-known macro with these arguments.
fn requirement_of(requirement: &str, arguments: &[Token]) -> Option<String> {
    let text = arguments.iter().rev().find_map(|token| match token {
        Token::Text(text) => Some(format!("{text:?}")),
        _ => None,
    });
    let requirement = match (requirement.contains("{}"), text) {
        (false, _) => requirement.to_owned(),
        (true, Some(text)) => requirement.replace("{}", &text),
        (true, None) => return None,
    };
    Some(format!("#[kata_test({requirement})]"))
}

/// Returns whether an expression leaves the function as if the test had passed, or with `Some(true)` the round of a
/// loop.
fn leaves(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Return(value) => match value.expr.as_deref() {
            None => Some(false),
            Some(Expr::Tuple(tuple)) if tuple.elems.is_empty() => Some(false),
            Some(Expr::Call(call)) => {
                (words(&flat(&call.func)).last() == Some("Ok")).then_some(false)
            }
            Some(_) => None,
        },
        Expr::Continue(_) => Some(true),
        Expr::Call(call) => {
            let is_exit = words(&flat(&call.func)).last() == Some("exit");
            (is_exit && flat(&call.args) == [Token::Number("0".into())]).then_some(false)
        }
        _ => None,
    }
}

/// Returns whether code checks something, so that it is a test.
fn is_check(tokens: &[Token]) -> bool {
    words(tokens).any(|word| word.starts_with("assert") || matches!(word, "unwrap_err" | "ensure"))
}

/// Returns whether a condition holds if the host lacks what it names.
fn is_negated(condition: &Expr) -> bool {
    match condition {
        Expr::Unary(unary) => matches!(unary.op, UnOp::Not(_)) && !is_negated(&unary.expr),
        Expr::Paren(inner) => is_negated(&inner.expr),
        Expr::Binary(binary) => match binary.op {
            BinOp::Ne(_) | BinOp::Lt(_) | BinOp::Le(_) => true,
            BinOp::Eq(_) => words(&flat(&binary.right)).any(|word| word == "false"),
            BinOp::Or(_) | BinOp::And(_) => is_negated(&binary.left) || is_negated(&binary.right),
            _ => false,
        },
        Expr::MethodCall(call) => {
            matches!(
                call.method.to_string().as_str(),
                "is_err" | "is_none" | "is_err_and" | "is_none_or"
            )
        }
        Expr::Let(binding) => match &*binding.pat {
            Pat::Ident(name) => name.ident == "None",
            pat => words(&flat(pat)).any(|word| word == "Err" || word == "None"),
        },
        _ => false,
    }
}

/// Returns whether a condition holds for this variant of a result.
fn is_about(condition: &Expr, variant: &str) -> bool {
    match condition {
        Expr::MethodCall(call) => variant == "Err" && call.method == "is_err",
        Expr::Let(binding) => is_variant(&binding.pat, variant),
        _ => false,
    }
}

fn is_variant(pat: &Pat, variant: &str) -> bool {
    match pat {
        Pat::TupleStruct(pat) => pat
            .path
            .segments
            .last()
            .is_some_and(|last| last.ident == variant),
        _ => false,
    }
}

/// Returns code as it is written, on one line.
fn code_of(code: &impl ToTokens) -> String {
    const LIMIT: usize = 100;
    let tokens = code.to_token_stream();
    let text = tokens
        .span()
        .source_text()
        .unwrap_or_else(|| tokens.to_string());
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
