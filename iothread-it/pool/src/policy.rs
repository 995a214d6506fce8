//! What a device needs, and the trait of policies that choose its threads.

use super::{Assignment, DeviceId, IoThreadId, PoolError, State};

/// What a device needs of its threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// The number of its queues.
    pub queues: u16,
    /// The load of each queue, relative to those of other devices. Zero: it does not count.
    pub weight: u32,
}

impl Demand {
    /// Makes the demand of a device with so many queues of weight 1.
    pub fn new(queues: u16) -> Self {
        Self { queues, weight: 1 }
    }

    /// Sets the weight of each queue.
    #[must_use]
    pub fn with_weight(self, weight: u32) -> Self {
        Self { weight, ..self }
    }
}

/// A device that needs threads.
#[derive(Debug, Clone, Copy)]
pub struct PlacementRequest<'a> {
    /// The device.
    pub device: &'a DeviceId,
    /// What it needs.
    pub demand: Demand,
    /// Whether it can use only one thread: its queues cannot be mapped.
    pub one_thread: bool,
}

/// A policy that chooses the threads of a device. [`Placement`](super::Placement) has the built-in
/// ones.
///
/// The pool checks each choice, so a policy cannot break its rules: threads that a device does not
/// share, queues without a thread, unknown threads.
pub trait Policy {
    /// Chooses what serves a device.
    ///
    /// # Errors
    /// If no thread fits. [`PoolError::Policy`] takes a text of the policy's own.
    fn choose(&self, request: &PlacementRequest<'_>, state: &State) -> Result<Choice, PoolError>;
}

/// What a policy chose, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub(super) assignment: Assignment,
    pub(super) dedicated: bool,
    pub(super) in_turn: bool,
    pub(super) why: String,
}

impl Choice {
    /// Makes a choice. The reason is for people.
    pub fn new(assignment: Assignment, why: impl Into<String>) -> Self {
        Self {
            assignment,
            dedicated: false,
            in_turn: false,
            why: why.into(),
        }
    }

    /// Makes the choice of one thread.
    pub fn thread(thread: &IoThreadId, why: impl Into<String>) -> Self {
        Self::new(Assignment::Thread(thread.clone()), why)
    }

    /// Keeps other devices off the chosen threads until the device is released.
    #[must_use]
    pub fn dedicated(self) -> Self {
        Self {
            dedicated: true,
            ..self
        }
    }

    /// Makes the chosen thread the last one in turn: [`State::next_in_turn`] goes on behind it.
    #[must_use]
    pub fn in_turn(self) -> Self {
        Self {
            in_turn: true,
            ..self
        }
    }
}
