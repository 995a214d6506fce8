//! The environment, and what the user allows by it.

use super::Answer;
use super::system::System;

/// What the user allows, separated by commas.
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
            Answer::is("it is allowed", ALLOW)
        }
        Some(list) if !list.is_empty() => Answer::absent(
            format!("only {list:?} is allowed: set {ALLOW}={list},{name} to run it"),
            ALLOW,
        ),
        _ => Answer::absent(
            format!("nobody asked for it: set {ALLOW}={name} to run it"),
            ALLOW,
        ),
    }
}
