//! The spans of commands.

use std::fmt::Debug;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::Qmp;
use crate::command::{Cont, Stop};
use crate::mock::{done, peer, refuses};
use crate::wait::Deadline;

/// Writes down what is entered, recorded and left.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, note: String) {
        self.0.lock().unwrap().push(note);
    }
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

impl Subscriber for Notes {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields(span.metadata().name().to_owned());
        span.record(&mut fields);
        self.add(fields.0);
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields("event".to_owned());
        event.record(&mut fields);
        self.add(fields.0);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {
        self.add("enter".to_owned());
    }

    fn exit(&self, _: &Id) {
        self.add("exit".to_owned());
    }
}

#[test]
fn each_command_has_a_span_with_its_id_and_its_failure() {
    let (sender, ids) = channel();
    let stream = peer(move |name, id| {
        sender.send(id).unwrap();
        match name {
            "stop" => refuses(id, "GenericError", "it runs on"),
            _ => done(id),
        }
    });
    let soon = || Deadline::after(Duration::from_secs(30));
    let qmp = Qmp::negotiate(stream, soon()).unwrap();
    let notes = Notes::default();
    tracing::subscriber::with_default(notes.clone(), || {
        qmp.execute(&Cont {}, soon()).unwrap();
        qmp.execute(&Stop {}, soon()).unwrap_err();
    });
    let ids: Vec<u64> = ids.try_iter().collect();
    let cont = format!("qmp command=\"cont\" id={}", ids[0]);
    let stop = format!("qmp command=\"stop\" id={}", ids[1]);
    let expected = [
        cont.as_str(),
        "enter",
        "event message=the command has returned",
        "exit",
        stop.as_str(),
        "enter",
        "event message=the command has failed error=QEMU refused stop: it runs on",
        "exit",
    ];
    assert_eq!(*notes.0.lock().unwrap(), expected);
}
