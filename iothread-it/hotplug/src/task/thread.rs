//! Threads that are added and removed while the VM runs.

use iothread_pool::{IoThreadId, NewThread};
use qmp_client::QmpError;
use qmp_client::command::{ObjectDel, QueryIothreads};
use serde_json::Value;

use crate::context::{Context, Input, Progress};
use crate::error::RemoveThreadError;
use crate::iothread::{Polling, object};
use crate::plug::is_refusal;
use crate::wire::read_reply;

/// Adds a thread to QEMU, and then to the pool.
#[derive(Debug)]
pub(crate) struct AddThread {
    id: IoThreadId,
    new: Option<NewThread>,
    polling: Polling,
}

impl AddThread {
    pub(crate) fn new(new: NewThread, polling: Polling) -> Self {
        Self {
            id: new.id().clone(),
            new: Some(new),
            polling,
        }
    }

    pub(crate) fn id(&self) -> &IoThreadId {
        &self.id
    }

    pub(crate) fn step(
        &mut self,
        cx: &mut Context<'_>,
        input: Input,
    ) -> Progress<Result<IoThreadId, QmpError>> {
        let new = self.new.take().expect("a thread is added once");
        let id = new.id().clone();
        match input {
            Input::Reply(Ok(_)) => {
                cx.core.stray_threads.remove(&id);
                cx.core.polling.insert(id, self.polling);
                Progress::Done(Ok(cx.core.pool.commit_thread(new)))
            }
            Input::Reply(Err(error)) => {
                if is_refusal(&error) {
                    cx.core.stray_threads.remove(&id);
                }
                Progress::Done(Err(error))
            }
            _ => {
                cx.core.stray_threads.insert(id.clone());
                self.new = Some(new);
                cx.send(&object(&id, self.polling))
            }
        }
    }
}

/// Removes an idle thread from the pool, and then from QEMU.
#[derive(Debug)]
pub(crate) struct RemoveThread {
    thread: IoThreadId,
    /// Where it was in the pool.
    position: Option<usize>,
    refusal: Option<QmpError>,
}

impl RemoveThread {
    pub(crate) fn new(thread: IoThreadId) -> Self {
        Self {
            thread,
            position: None,
            refusal: None,
        }
    }

    pub(crate) fn id(&self) -> &IoThreadId {
        &self.thread
    }

    pub(crate) fn step(
        &mut self,
        cx: &mut Context<'_>,
        input: Input,
    ) -> Progress<Result<(), RemoveThreadError>> {
        match (self.refusal.take(), input) {
            (None, Input::Reply(Ok(_))) => self.gone(cx),
            // It was never made, an earlier command deleted it, or it stays.
            (None, Input::Reply(Err(refusal))) if is_refusal(&refusal) => {
                self.refusal = Some(refusal);
                cx.send(&QueryIothreads {})
            }
            (None, Input::Reply(Err(error))) => Progress::Done(Err(error.into())),
            (Some(refusal), Input::Reply(reply)) => self.listed(cx, refusal, reply),
            _ => self.begin(cx),
        }
    }

    fn begin(&mut self, cx: &mut Context<'_>) -> Progress<Result<(), RemoveThreadError>> {
        let core = &mut *cx.core;
        if !core.stray_threads.contains(&self.thread) {
            let mut threads = core.pool.threads().iter();
            self.position = threads.position(|known| *known == self.thread);
            if let Err(error) = core.pool.remove_thread(&self.thread) {
                return Progress::Done(Err(error.into()));
            }
            core.stray_threads.insert(self.thread.clone());
        }
        cx.send(&ObjectDel {
            id: self.thread.as_str(),
        })
    }

    fn listed(
        &mut self,
        cx: &mut Context<'_>,
        refusal: QmpError,
        reply: Result<Value, QmpError>,
    ) -> Progress<Result<(), RemoveThreadError>> {
        match reply.and_then(read_reply::<QueryIothreads>) {
            Ok(threads) if threads.iter().any(|info| info.id == self.thread.as_str()) => {
                if let Some(position) = self.position {
                    cx.core.stray_threads.remove(&self.thread);
                    cx.core.pool.restore_thread(self.thread.clone(), position);
                }
                Progress::Done(Err(refusal.into()))
            }
            Ok(_) => self.gone(cx),
            Err(error) => Progress::Done(Err(error.into())),
        }
    }

    fn gone(&self, cx: &mut Context<'_>) -> Progress<Result<(), RemoveThreadError>> {
        cx.core.stray_threads.remove(&self.thread);
        cx.core.polling.remove(&self.thread);
        Progress::Done(Ok(()))
    }
}
