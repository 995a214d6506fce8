//! The driver for tokio: each operation is a future, and any number of them run at once in one VM.
//!
//! [`Hotplug`] starts operations, and can be cloned. The [`Driver`] does their I/O over a [`Vm`], which the
//! caller implements for its QMP client and its guest agent. It ends with the connection, and
//! [`serve`](Driver::serve) can be called again with another one.
//!
//! ```
//! use iothread_hotplug::tokio::{Driver, Hotplug, Vm};
//! use iothread_hotplug::{AttachError, DiskSpec};
//! use iothread_pool::Placement;
//! use qmp_client::wait::Deadline;
//! use std::time::Duration;
//!
//! /// Both disks, at the same time. `Driver::serve` runs in another task.
//! async fn attach(hotplug: &Hotplug, disks: &[DiskSpec; 2]) -> Result<(), AttachError> {
//!     let attach = |disk| {
//!         hotplug.run(move |machine, now| {
//!             let deadline = Deadline::starting(now, Duration::from_secs(30));
//!             machine.attach(disk, &Placement::LeastLoaded, deadline, now)
//!         })
//!     };
//!     let (first, second) = tokio::join!(attach(&disks[0]), attach(&disks[1]));
//!     first.and(second).map(drop)
//! }
//! ```

mod driver;
mod vm;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ::tokio::sync::{Notify, oneshot};

pub use self::driver::{Driver, Stopped};
pub use self::vm::{Incoming, Vm};
use crate::action::OperationId;
use crate::machine::{self, FromOutcome, Started};
use crate::saved::Saved;
use crate::task::Outcome;

/// The [state machine](machine::Hotplug) that a [`Driver`] drives.
#[derive(Debug, Clone)]
pub struct Hotplug(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The driver has something to do.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    machine: machine::Hotplug,
    waiting: BTreeMap<OperationId, oneshot::Sender<Outcome>>,
    /// Whether the driver has ended, and no other connection is there yet.
    is_stopped: bool,
}

/// Drives a machine, such as one from a [saved state](Saved). Its operations that have not ended are
/// cancelled.
///
/// Operations that are started before [`Driver::serve`] is called wait for it.
pub fn drive(mut machine: machine::Hotplug) -> (Hotplug, Driver) {
    let operations: Vec<_> = machine.operations().collect();
    for operation in operations {
        machine.cancel(operation);
    }
    let state = State {
        machine,
        waiting: BTreeMap::new(),
        is_stopped: false,
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        changed: Notify::new(),
    });
    (Hotplug(shared.clone()), Driver::new(shared))
}

impl Hotplug {
    /// Runs the operation that `start` starts, and returns its result. `start` gets the time, by tokio's
    /// clock.
    ///
    /// If the future is dropped, the operation is [cancelled](machine::Hotplug::cancel): what it has begun
    /// is recorded, and a detach or settle completes it. Without a connection it fails at once.
    pub async fn run<R: FromOutcome>(
        &self,
        start: impl FnOnce(&mut machine::Hotplug, Instant) -> Started<R>,
    ) -> R {
        let (sender, receiver) = oneshot::channel();
        let started = {
            let mut state = self.0.lock();
            let started = start(&mut state.machine, now());
            state.waiting.insert(started.id(), sender);
            if state.is_stopped {
                state.deliver(usize::MAX);
            }
            started
        };
        let _cancelled_if_dropped = Running {
            shared: &self.0,
            id: started.id(),
        };
        self.0.changed.notify_one();
        let outcome = receiver.await.expect("every operation has an outcome");
        started.result(outcome)
    }

    /// Looks at the machine, such as at its pool.
    pub fn look<T>(&self, look: impl FnOnce(&machine::Hotplug) -> T) -> T {
        look(&self.0.lock().machine)
    }

    /// Returns the state.
    pub fn save(&self) -> Saved {
        self.look(machine::Hotplug::save)
    }
}

/// Cancels an operation whose future is dropped.
struct Running<'a> {
    shared: &'a Shared,
    id: OperationId,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.waiting.remove(&self.id).is_some() {
            state.machine.cancel(self.id);
            self.shared.changed.notify_one();
        }
    }
}

impl Shared {
    /// The state is whole between two calls of the machine, also after a panic elsewhere.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Hands over the first outcomes.
    fn deliver(&mut self, count: usize) {
        for _ in 0..count {
            let Some((id, outcome)) = self.machine.poll_outcome() else {
                return;
            };
            if let Some(sender) = self.waiting.remove(&id) {
                // Its future may be dropped at this moment.
                drop(sender.send(outcome));
            }
        }
    }
}

fn now() -> Instant {
    ::tokio::time::Instant::now().into_std()
}
