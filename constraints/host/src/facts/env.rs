//! Environment variables and opt-ins.

use super::Answer;
use super::system::System;

/// The opt-ins of the user, separated by commas.
pub const ALLOW: &str = "KATA_TEST_ALLOW";

pub(super) fn variable(name: &str, system: &dyn System) -> Answer {
    let source = "the environment";
    match system.env(name) {
        Some(value) => Answer::is(value, source),
        None => Answer::absent(format!("{name} is not set"), source),
    }
}

pub(super) fn opt_in(name: &str, system: &dyn System) -> Answer {
    match system.env(ALLOW) {
        Some(list) if list.split(',').any(|allowed| allowed.trim() == name) => {
            Answer::is("opted in", ALLOW)
        }
        Some(list) if !list.is_empty() => Answer::absent(
            format!("only {list:?} is opted in; set {ALLOW}={list},{name}"),
            ALLOW,
        ),
        _ => Answer::absent(format!("not opted in; set {ALLOW}={name}"), ALLOW),
    }
}
