//! An operation that was started, and the type of its result.

use std::fmt;
use std::marker::PhantomData;

use iothread_pool::{Allocation, IoThreadId, Lease, ScsiAddress, ThreadLease};
use qmp_client::QmpError;

use crate::action::OperationId;
use crate::error::{
    AttachError, DetachError, MoveError, RemoveThreadError, UnplugEventsError, UnplugProgress,
};
use crate::reconcile::Difference;
use crate::task::Outcome;

/// An operation that was started, whose result is an `R`.
pub struct Started<R> {
    id: OperationId,
    result: PhantomData<fn() -> R>,
}

impl<R> Started<R> {
    pub(super) fn new(id: OperationId) -> Self {
        let result = PhantomData;
        Self { id, result }
    }

    /// Returns the operation's id, which its outcome has.
    pub fn id(&self) -> OperationId {
        self.id
    }
}

impl<R: FromOutcome> Started<R> {
    /// Returns the result in the outcome of this operation.
    ///
    /// # Panics
    /// If the outcome is that of an operation of another kind.
    pub fn result(&self, outcome: Outcome) -> R {
        R::from_outcome(outcome).unwrap_or_else(|other| panic!("not of this operation: {other:?}"))
    }
}

impl<R> fmt::Debug for Started<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// The result of a kind of operation.
pub trait FromOutcome: Sized {
    /// Takes the result out of an outcome.
    ///
    /// # Errors
    /// The outcome, if it is that of another kind of operation.
    fn from_outcome(outcome: Outcome) -> Result<Self, Outcome>;
}

macro_rules! results {
    ($($result:ty: $outcome:pat => $value:expr;)*) => {$(
        impl FromOutcome for $result {
            fn from_outcome(outcome: Outcome) -> Result<Self, Outcome> {
                match outcome {
                    $outcome => Ok($value),
                    other => Err(other),
                }
            }
        }
    )*};
}

results! {
    Result<(), DetachError>: Outcome::Detach(detached) => detached;
    Result<IoThreadId, QmpError>: Outcome::AddThread(added) => added;
    Result<(), RemoveThreadError>: Outcome::RemoveThread(removed) => removed;
    Result<UnplugProgress, UnplugEventsError>: Outcome::Settle(settled) => settled;
    Result<Vec<Difference>, QmpError>: Outcome::Reconcile(found) => found;
}

/// What each kind of attach and move is allocated.
macro_rules! allocations {
    ($($outcome:ident, $error:ty, $lease:ty: $allocation:pat => $value:expr;)*) => {$(
        impl FromOutcome for Result<$lease, $error> {
            fn from_outcome(outcome: Outcome) -> Result<Self, Outcome> {
                match outcome {
                    Outcome::$outcome(Ok($allocation)) => Ok(Ok($value)),
                    Outcome::$outcome(Err(error)) => Ok(Err(error)),
                    other => Err(other),
                }
            }
        }
    )*};
}

allocations! {
    Attach, AttachError, Lease: Allocation::Device(lease) | Allocation::Controller(lease) => lease;
    Attach, AttachError, ScsiAddress: Allocation::Scsi(address) => address;
    Attach, AttachError, ThreadLease: Allocation::Thread(lease) => lease;
    Move, MoveError, Lease: Allocation::Device(lease) | Allocation::Controller(lease) => lease;
    Move, MoveError, ThreadLease: Allocation::Thread(lease) => lease;
}
