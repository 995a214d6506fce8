//! Drives the machine until an operation has ended.

use std::time::{Duration, Instant};

use qmp_client::wait::Deadline;
use qmp_client::{Event, Qmp, QmpError};

use super::{Guest, Hotplug};
use crate::action::{Action, Answer, GuestDisk, Presence};
use crate::machine::{self, FromOutcome, Started};
use crate::state::News;

/// Interval between checks that QEMU still has the device: the wait for the guest is not interrupted
/// by QEMU's events. (Tests use mocks that reply at once.)
const CHECK_INTERVAL: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 1000 });

/// What an operation is driven with.
#[derive(Clone, Copy)]
struct Driver<'a> {
    qmp: &'a Qmp,
    guest: Option<&'a dyn Guest>,
    deadline: Deadline,
}

impl Hotplug {
    /// Runs the operation that `start` starts to its end, and sends what it leaves behind. `guest` is needed by those
    /// that wait for it. `deadline` is that of the operation: `wait` would not block after an earlier one.
    pub(super) fn run<R: FromOutcome>(
        &mut self,
        qmp: &Qmp,
        guest: Option<&dyn Guest>,
        deadline: Deadline,
        start: impl FnOnce(&mut machine::Hotplug, Instant) -> Started<R>,
    ) -> R {
        let driver = Driver {
            qmp,
            guest,
            deadline,
        };
        self.machine.connection_resumed();
        self.take_events(driver.qmp);
        let started = start(&mut self.machine, Instant::now());
        loop {
            while let Some(action) = self.machine.poll_action() {
                self.perform(driver, action);
            }
            match self.machine.poll_outcome() {
                Some((ended, outcome)) if ended == started.id() => return started.result(outcome),
                Some(_) => {}
                None => self.wait(driver),
            }
        }
    }

    fn perform(&mut self, driver: Driver<'_>, action: Action) {
        match action {
            Action::Send { id, command } => {
                let reply = driver.qmp.request(&command, driver.deadline);
                self.take_events(driver.qmp);
                self.machine.reply(id, reply, Instant::now());
            }
            Action::AskGuest { id, disk, awaited } => {
                let answer = driver.look(&disk, awaited);
                self.take_events(driver.qmp);
                self.machine.answer(id, answer, Instant::now());
            }
        }
    }

    /// Waits for an event that an operation may wait for.
    fn wait(&mut self, driver: Driver<'_>) {
        let since = self.cursor.unwrap_or_else(|| driver.qmp.cursor());
        let deadline = driver.deadline;
        let event = |event: &Event| {
            let counts = News::of(event).is_some() || event.name == "BLOCK_EXPORT_DELETED";
            counts.then_some(())
        };
        match driver.qmp.wait_event("an event", since, deadline, event) {
            Ok(()) | Err(QmpError::EventsLost { .. }) => self.take_events(driver.qmp),
            Err(QmpError::TimedOut { .. }) => {
                self.take_events(driver.qmp);
                self.machine.pass_time(Instant::now());
            }
            Err(QmpError::Closed { why, .. }) => {
                self.machine.connection_lost(&why, Instant::now());
            }
            Err(error) => {
                let why = error.to_string();
                self.machine.connection_lost(&why, Instant::now());
            }
        }
    }

    /// Gives the machine the events that have come. It gets those before the reply to a command before
    /// that reply.
    fn take_events(&mut self, qmp: &Qmp) {
        let now = Instant::now();
        let cursor = self.cursor.get_or_insert_with(|| qmp.cursor());
        match qmp.take_events(cursor) {
            Ok(events) => {
                for event in &events {
                    self.machine.event(event, now);
                }
            }
            Err(_) => self.machine.events_lost(now),
        }
    }
}

impl Driver<'_> {
    fn look(&self, disk: &GuestDisk, awaited: Presence) -> Answer {
        let Some(guest) = self.guest else {
            return Answer::Failed("there is no access to the guest".into());
        };
        match awaited {
            Presence::Absent => match guest.await_absent(disk, self.deadline) {
                Ok(()) => Answer::Yes,
                Err(error) => Answer::Failed(error),
            },
            Presence::Present => {
                let look = self.deadline.capped_at(CHECK_INTERVAL);
                match guest.await_present(disk, look) {
                    Ok(()) => Answer::Yes,
                    Err(error) if look.has_passed() => Answer::NotYet(error),
                    Err(error) => Answer::Failed(error),
                }
            }
        }
    }
}
