//! The network of a test with `isolated_network`.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::constraint::Constraint;
use crate::registry::Test;
use crate::sys::OwnNetwork;

/// Whether this process is in the network of its test.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Creates the network of a test, if it has one, for the process that was forked for it.
pub(super) fn enter_for_good(test: &Test) -> Result<(), String> {
    if let Some(network) = enter(test)? {
        std::mem::forget(network);
        ENTERED.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// Creates the network of a test, if it has one and this process is not in it, for this thread.
pub(super) fn enter(test: &Test) -> Result<Option<OwnNetwork>, String> {
    let has_one = test.constraints.iter().any(Constraint::isolates_network);
    match has_one && !ENTERED.load(Ordering::Relaxed) {
        true => OwnNetwork::enter().map(Some),
        false => Ok(None),
    }
}
