//! What goes wrong: faults of commands, lost events, a closed connection, a restarted manager.

use std::time::Duration;

use qmp_client::{QemuVersion, Request};

use super::{Fault, Line, World};
use crate::tests::model::qemu::refuse_as;
use crate::tests::options;
use crate::{CommandId, Hotplug};

impl World {
    pub(super) fn strike(&mut self, fault: Fault, id: CommandId, command: &Request) {
        let name = command.name();
        let executed = match fault {
            Fault::Refused => Some((Err(refuse_as(name, "NeverHeardOf")), Vec::new())),
            Fault::NotHeard | Fault::ClosedBefore => None,
            _ => Some(self.qemu.run(name, command.arguments())),
        };
        let (reply, events) = executed.unzip();
        let mut lines: Vec<_> = events.into_iter().flatten().map(Line::Event).collect();
        lines.extend(reply.map(|reply| Line::Reply(id, reply)));
        match fault {
            Fault::Refused | Fault::NotHeard | Fault::Doubled => {
                let is_double = fault == Fault::Doubled;
                for line in lines {
                    if is_double && let Some(same) = line.again() {
                        self.from_qemu.push_back(same);
                    }
                    self.from_qemu.push_back(line);
                }
            }
            Fault::Flood | Fault::ReplyLost => {
                let replies = fault == Fault::Flood;
                lines.retain(|line| matches!(line, Line::Reply(..)) == replies);
                self.from_qemu.extend(lines);
                if replies {
                    self.hotplug.events_lost(self.now);
                }
            }
            Fault::Late => {
                self.now += Duration::from_secs(10);
                self.hotplug.pass_time(self.now);
                self.from_qemu.extend(lines);
            }
            Fault::ClosedBefore | Fault::ClosedAfter => {
                self.to_qemu.clear();
                self.hotplug.connection_lost("it was closed", self.now);
                self.is_connected = false;
            }
            Fault::Cancelled => {
                let running: Vec<_> = self.hotplug.operations().collect();
                for operation in running {
                    self.hotplug.cancel(operation);
                }
                self.from_qemu.extend(lines);
            }
            Fault::Restarted => self.restart(),
        }
    }

    pub(super) fn disturb(&mut self) {
        match self.below(5) {
            4 => self.restart(),
            0 => {
                let running: Vec<_> = self.hotplug.operations().collect();
                if !running.is_empty() {
                    let operation = running[self.below(running.len())];
                    self.say(|| format!("{operation:?} is cancelled"));
                    self.counts[3] += 1;
                    self.hotplug.cancel(operation);
                }
            }
            1 => {
                self.counts[2] += 1;
                self.say(|| "events are lost".into());
                self.from_qemu
                    .retain(|line| matches!(line, Line::Reply(..)));
                self.hotplug.events_lost(self.now);
            }
            2 if self.is_connected => self.disconnect(),
            _ => self.reconnect(),
        }
    }

    /// QEMU executes some of what was sent.
    fn disconnect(&mut self) {
        self.counts[2] += 1;
        self.say(|| "the connection is lost".into());
        let executed = self.below(self.to_qemu.len() + 1);
        for (_, command) in self.to_qemu.drain(..executed) {
            drop(self.qemu.run(command.name(), command.arguments()));
        }
        self.to_qemu.clear();
        self.from_qemu.clear();
        self.hotplug.connection_lost("it was closed", self.now);
        self.is_connected = false;
    }

    pub(super) fn reconnect(&mut self) {
        if !self.is_connected {
            self.from_qemu.clear();
            self.hotplug.connection_resumed();
            self.is_connected = true;
        }
    }

    /// A new manager has what the old one saved.
    fn restart(&mut self) {
        self.say(|| "the manager is restarted".into());
        self.to_qemu.clear();
        self.from_qemu.clear();
        self.questions.clear();
        #[cfg(not(feature = "serde"))]
        let saved = self.hotplug.save();
        #[cfg(feature = "serde")]
        let saved = serde_json::from_str(&self.saved_json()).unwrap();
        self.hotplug = Hotplug::restore(saved, options(), QemuVersion::MAPS_SCSI_QUEUES);
        self.is_connected = true;
    }

    /// The state is the same after its way through JSON.
    #[cfg(feature = "serde")]
    pub(super) fn checks_json(&self) {
        let text = self.saved_json();
        let saved = serde_json::from_str::<crate::Saved>(&text);
        let again = saved.map_err(|error| error.to_string());
        let again = again.map(|saved| serde_json::to_string(&saved).unwrap());
        self.ensure(again.as_deref() == Ok(&text), &format!("{again:?}"));
    }

    #[cfg(feature = "serde")]
    pub(in crate::tests) fn saved_json(&self) -> String {
        serde_json::to_string(&self.hotplug.save()).unwrap()
    }

    /// Runs so many steps, and returns the state.
    #[cfg(feature = "serde")]
    pub(in crate::tests) fn state_after(mut self, steps: u32) -> String {
        for _ in 0..steps {
            self.step();
        }
        self.saved_json()
    }
}
