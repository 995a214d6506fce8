//! The loop that does the I/O of all operations.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ::tokio::time::{Instant, sleep_until};
use qmp_client::QmpError;
use serde_json::Value;

use super::{Incoming, Shared, Vm, now};
use crate::action::{Action, Answer, CommandId, QuestionId};

/// Later than any deadline of an operation that somebody waits for.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

/// Does the I/O of a [`Hotplug`](super::Hotplug). There is one, so the machine has one connection at a time.
#[derive(Debug)]
pub struct Driver {
    shared: Arc<Shared>,
}

/// Why a driver has stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Stopped {
    /// The connection has ended. Open another one and serve it.
    #[error("the connection to QEMU has ended: {0}")]
    Closed(String),
    /// The state could not be kept, so the commands that it records were not sent.
    #[error("cannot save the state of hotplug")]
    NotSaved(#[source] std::io::Error),
}

/// What the loop waits for.
enum Happened {
    Incoming(Incoming),
    Done(Done),
    /// The time of a deadline has come, or an operation was started or cancelled.
    Look,
}

enum Done {
    Reply(CommandId, Result<Value, QmpError>),
    Answer(QuestionId, Answer),
}

/// What was begun.
struct Running {
    /// `None`: it is a command, which is not dropped.
    question: Option<QuestionId>,
    future: Pin<Box<dyn Future<Output = Done> + Send>>,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Runs all operations over a connection, until it ends. Events may have been missed before, so QEMU is
    /// queried before the next step of each device.
    ///
    /// If the future is dropped, or returns, operations that wait for QEMU end with an error, and so do
    /// those that are started until `serve` is called again. What they have begun is recorded.
    pub async fn serve(&mut self, vm: &mut impl Vm) -> Stopped {
        let shared = &*self.shared;
        let mut connected = Connected::new(shared);
        let stopped = serve(shared, vm).await;
        connected.why = stopped.to_string();
        stopped
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        stop(&self.shared, "the driver was dropped");
    }
}

/// A connection that is served. Whatever ends it, no operation waits for it any more.
struct Connected<'a> {
    shared: &'a Shared,
    why: String,
}

impl<'a> Connected<'a> {
    fn new(shared: &'a Shared) -> Self {
        let mut state = shared.lock();
        state.machine.connection_resumed();
        state.machine.events_lost(now());
        state.is_stopped = false;
        let why = "the driver was cancelled".into();
        Self { shared, why }
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        stop(self.shared, &self.why);
    }
}

fn stop(shared: &Shared, why: &str) {
    let mut state = shared.lock();
    let now = now();
    state.is_stopped = true;
    state.machine.connection_lost(why, now);
    let questions: Vec<_> = state.machine.questions().collect();
    for question in questions {
        let failed = Answer::Failed(why.into());
        state.machine.answer(question, failed, now);
    }
    // Questions that these led to.
    while let Some(action) = state.machine.poll_action() {
        if let Action::AskGuest { id, .. } = action {
            state.machine.answer(id, Answer::Failed(why.into()), now);
        }
    }
    state.deliver(usize::MAX);
}

async fn serve(shared: &Shared, vm: &mut impl Vm) -> Stopped {
    let mut running: Vec<Running> = Vec::new();
    loop {
        let (actions, ended, state) = {
            let mut state = shared.lock();
            let actions: Vec<_> = std::iter::from_fn(|| state.machine.poll_action()).collect();
            let is_record = |action: &Action| matches!(action, Action::Send { .. });
            let is_record = actions.iter().any(is_record);
            let ended = state.machine.ended();
            let saved = (is_record || ended > 0).then(|| state.machine.save());
            (actions, ended, saved)
        };
        if let Some(state) = state
            && let Err(error) = vm.save(state).await
        {
            return Stopped::NotSaved(error);
        }
        running.extend(actions.into_iter().map(|action| perform(vm, action)));
        let (wake_at, questions) = {
            let mut state = shared.lock();
            state.deliver(ended);
            let questions: BTreeSet<_> = state.machine.questions().collect();
            (state.machine.wake_at().map(Instant::from_std), questions)
        };
        running.retain(|one| one.question.is_none_or(|id| questions.contains(&id)));
        let wake_at = wake_at.unwrap_or_else(|| Instant::now() + NEVER);
        match next(shared, vm, &mut running, wake_at).await {
            Happened::Incoming(Incoming::Closed(why)) => return Stopped::Closed(why),
            Happened::Incoming(Incoming::Event(event)) => {
                shared.lock().machine.event(&event, now());
            }
            Happened::Incoming(Incoming::EventsLost) => shared.lock().machine.events_lost(now()),
            Happened::Done(Done::Reply(id, reply)) => shared.lock().machine.reply(id, reply, now()),
            Happened::Done(Done::Answer(id, answer)) => {
                shared.lock().machine.answer(id, answer, now());
            }
            Happened::Look => shared.lock().machine.pass_time(now()),
        }
    }
}

fn perform(vm: &mut impl Vm, action: Action) -> Running {
    match action {
        Action::Send { id, command } => {
            let reply = vm.send(command);
            Running {
                question: None,
                future: Box::pin(async move { Done::Reply(id, reply.await) }),
            }
        }
        Action::AskGuest { id, disk, awaited } => {
            let answer = vm.look(disk, awaited);
            Running {
                question: Some(id),
                future: Box::pin(async move { Done::Answer(id, answer.await) }),
            }
        }
    }
}

/// Waits for what comes first: events before replies, and these in the order of their commands.
async fn next(
    shared: &Shared,
    vm: &mut impl Vm,
    running: &mut Vec<Running>,
    wake_at: Instant,
) -> Happened {
    let mut incoming = pin!(vm.next_event());
    let mut changed = pin!(shared.changed.notified());
    let mut time = pin!(sleep_until(wake_at));
    poll_fn(|cx| {
        if let Poll::Ready(incoming) = incoming.as_mut().poll(cx) {
            return Poll::Ready(Happened::Incoming(incoming));
        }
        for n in 0..running.len() {
            if let Poll::Ready(done) = running[n].future.as_mut().poll(cx) {
                drop(running.remove(n));
                return Poll::Ready(Happened::Done(done));
            }
        }
        let is_time = time.as_mut().poll(cx).is_ready();
        if changed.as_mut().poll(cx).is_ready() || is_time {
            return Poll::Ready(Happened::Look);
        }
        Poll::Pending
    })
    .await
}
