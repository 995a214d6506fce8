//! **Scope**: deadlines, partial results, and what must not be taken for something else.

use std::time::Instant;

use serde_json::json;

use super::fake::Fault;
use super::lost_answers::{Stage, disk, name};
use super::many::Bench;
use super::*;
use crate::Action;

/// A disk that goes away, up to its last step.
fn loses_its_device(stage: &mut Stage, id: &str) {
    let place = Placement::First;
    let (hotplug, qmp) = (&mut stage.hotplug, &stage.qmp);
    hotplug
        .attach(qmp, &Quick, &disk(id), &place, soon())
        .unwrap();
    stage.fake.arm(1, Fault::NotHeard);
    let error = hotplug.detach(qmp, &name(id), at_once()).unwrap_err();
    assert!(stage.fake.disarm(), "{error}");
    assert_eq!(hotplug.state_of(&name(id)), Some(DiskState::NodeOnly));
}

#[test]
fn failed_completion_does_not_hide_the_others() {
    let mut stage = Stage::new();
    for id in ["disk0", "disk1"] {
        loses_its_device(&mut stage, id);
    }
    stage.fake.arm(0, Fault::Refused);
    let error = stage
        .hotplug
        .process_unplug_events(&stage.qmp, soon())
        .unwrap_err();
    assert_eq!(error.progress.removed, [name("disk1")]);
    assert!(error.first.to_string().contains("`disk0`"), "{error:?}");
    assert!(error.others.is_empty());
    let progress = stage
        .hotplug
        .process_unplug_events(&stage.qmp, soon())
        .unwrap();
    assert_eq!(progress.removed, [name("disk0")]);
}

/// What `query-block` returns while the device uses its node.
pub(super) const USED: &str = r#"[{"device":"","inserted":{"node-name":"other"}},{"device":"","inserted":{"node-name":"disk0"}}]"#;

/// Events were lost, QEMU lists the device no more, and the device still uses its node.
#[test]
fn processing_unplug_events_does_not_wait_for_a_node_in_use() {
    let (mut hotplug, qmp) = attached(|name, _, id| match name {
        "query-iothreads" => Some(event("NOISE", "other").repeat(20_000) + &returns(id, "[]")),
        "qom-list" => Some(returns(id, "[]")),
        "blockdev-del" => Some(refuses(id, "GenericError", "in use")),
        "query-named-block-nodes" => Some(returns(id, "[{\"node-name\":\"disk0\"}]")),
        _ => None,
    });
    qmp.execute(&QueryIothreads {}, soon()).unwrap();
    let (start, span) = (Instant::now(), Duration::from_secs(10));
    let progress = hotplug.process_unplug_events(&qmp, Deadline::after(span));
    assert!(start.elapsed() < span / 2, "it waited");
    assert_eq!(progress.unwrap().in_use, [id()]);
    keeps(&hotplug, DiskState::NodeOnly);
}

/// QEMU lists the device no more, and releases its node with the event. Meanwhile a settle has found the node in use.
#[test]
fn detach_awaits_the_event_of_a_device_that_is_listed_no_more() {
    let (mut hotplug, qmp) = attached(|name, before, id| match (name, before) {
        ("qom-list" | "query-block-exports" | "query-iothreads", _) => Some(returns(id, "[]")),
        ("query-block", _) => Some(returns(id, USED)),
        ("blockdev-del", 0 | 1) => Some(refuses(id, "GenericError", "in use")),
        ("query-named-block-nodes", before) => {
            let listed = returns(id, "[{\"node-name\":\"disk0\"}]");
            let news = (before == 2).then(|| event("DEVICE_DELETED", "disk0"));
            Some(listed + &news.unwrap_or_default())
        }
        _ => None,
    });
    hotplug.reconcile(&qmp, soon()).unwrap();
    let progress = hotplug.process_unplug_events(&qmp, soon()).unwrap();
    assert_eq!(progress.in_use, [id()]);
    keeps(&hotplug, DiskState::NodeOnly);
    hotplug.detach(&qmp, &id(), soon()).unwrap();
    is_gone(&hotplug);
}

/// Its event was lost, and something else uses the node, such as a backup: nothing is left to wait for.
#[test]
fn detach_does_not_await_the_event_of_a_device_that_uses_its_node_no_more() {
    let (mut hotplug, qmp) = attached(|name, _, id| match name {
        "device_del" => Some(refuses(id, "DeviceNotFound", "no")),
        "query-block" => Some(returns(
            id,
            r#"[{"device":"cd","inserted":{"node-name":"cd"}},{"device":"empty"}]"#,
        )),
        "blockdev-del" => Some(refuses(id, "GenericError", "in use")),
        "query-named-block-nodes" => Some(returns(id, "[{\"node-name\":\"disk0\"}]")),
        _ => None,
    });
    let (start, span) = (Instant::now(), Duration::from_secs(10));
    let error = hotplug.detach(&qmp, &id(), Deadline::after(span));
    assert!(start.elapsed() < span / 2, "it waited");
    let error = error.unwrap_err();
    let is_refusal = matches!(
        &error,
        DetachError::Failed {
            step: Step::BlockdevDel,
            source: QmpError::Refused { .. },
            ..
        }
    );
    assert!(is_refusal, "{error:?}");
    keeps(&hotplug, DiskState::NodeOnly);
}

/// `query-block` fails as a whole if QEMU cannot read the information on one image, whichever.
#[test]
fn detach_awaits_the_event_if_users_of_nodes_cannot_be_listed() {
    let (mut hotplug, qmp) = attached(|name, before, id| match (name, before) {
        ("device_del", _) => Some(refuses(id, "DeviceNotFound", "no")),
        ("blockdev-del", 0) => Some(refuses(id, "GenericError", "in use")),
        ("query-named-block-nodes", _) => Some(returns(id, "[{\"node-name\":\"disk0\"}]")),
        ("query-block", _) => {
            let refusal = refuses(
                id,
                "GenericError",
                "Could not get the size of another image",
            );
            Some(refusal + &event("DEVICE_DELETED", "disk0"))
        }
        _ => None,
    });
    hotplug.detach(&qmp, &id(), soon()).unwrap();
    is_gone(&hotplug);
}

/// Then nothing says that an event is to come.
#[test]
fn detach_ends_if_the_list_of_users_cannot_be_read() {
    let (mut hotplug, qmp) = attached(|name, _, id| match name {
        "device_del" => Some(refuses(id, "DeviceNotFound", "no")),
        "query-block" => Some(returns(id, "{}")),
        "blockdev-del" => Some(refuses(id, "GenericError", "in use")),
        "query-named-block-nodes" => Some(returns(id, "[{\"node-name\":\"disk0\"}]")),
        _ => None,
    });
    let error = hotplug.detach(&qmp, &id(), at_once()).unwrap_err();
    let is_unread = matches!(
        &error,
        DetachError::Failed {
            step: Step::BlockdevDel,
            source: QmpError::Unexpected { .. },
            ..
        }
    );
    assert!(is_unread, "{error:?}");
    keeps(&hotplug, DiskState::NodeOnly);
}

/// The event of any device wakes each detach.
#[test]
fn users_of_nodes_are_listed_once_and_again_if_events_were_lost() {
    let mut bench = Bench::with_disks(&["disk0", "disk1"]);
    let now = Instant::now();
    for id in ["disk0", "disk1"] {
        bench.machine.detach(&name(id), soon(), now);
    }
    assert_eq!(lists_of_users(&mut bench), 2);
    bench.event("DEVICE_UNPLUG_GUEST_ERROR", "disk0");
    assert_eq!(lists_of_users(&mut bench), 0);
    bench.machine.events_lost(now);
    assert_eq!(lists_of_users(&mut bench), 2);
    assert_eq!(bench.machine.operations().count(), 2);
}

/// Has QEMU answer that all devices are listed no more and still use their nodes. Returns how often it was asked for
/// the users of nodes.
fn lists_of_users(bench: &mut Bench) -> usize {
    let mut count = 0;
    while let Some(action) = bench.machine.poll_action() {
        let Action::Send { id, command } = action else {
            panic!("{action:?}");
        };
        let disks = ["disk0", "disk1"].map(|disk| json!({"node-name": disk}));
        let reply = match command.name() {
            "device_del" => Err(refused("DeviceNotFound")),
            "blockdev-del" => Err(refused("GenericError")),
            "query-named-block-nodes" => Ok(json!(disks)),
            "query-block" => {
                count += 1;
                Ok(json!(disks.map(|disk| json!({"inserted": disk}))))
            }
            other => panic!("{other}"),
        };
        bench.machine.reply(id, reply, Instant::now());
    }
    count
}

fn refused(class: &str) -> QmpError {
    QmpError::Refused {
        command: "a command",
        class: class.into(),
        desc: "no".into(),
    }
}

/// The device still uses its node, and its event is one of more than the log keeps.
#[test]
fn detach_ends_if_the_event_that_it_awaits_is_lost() {
    let (mut hotplug, qmp) = attached(|name, before, id| match (name, before) {
        ("device_del", _) => Some(refuses(id, "DeviceNotFound", "no")),
        ("blockdev-del", 0) => Some(refuses(id, "GenericError", "in use")),
        ("query-named-block-nodes", _) => Some(returns(id, "[{\"node-name\":\"disk0\"}]")),
        ("query-block", 0) => Some(returns(id, USED) + &event("NOISE", "other").repeat(20_000)),
        ("query-block", _) => Some(returns(id, "[]")),
        _ => None,
    });
    hotplug.detach(&qmp, &id(), soon()).unwrap();
    is_gone(&hotplug);
}

/// QEMU refuses the end of an export that has clients, and also of one that is ending already.
#[test]
fn the_end_of_an_export_is_awaited_only_if_it_is_ending() {
    for is_ending in [false, true] {
        let stream = peer(move |name, id| match name {
            "query-qmp-schema" => {
                returns(id, r#"[{"name":"block-export-add","meta-type":"command"}]"#)
            }
            "block-export-del" => refuses(id, "GenericError", "no"),
            "query-block-exports" => {
                let list = format!(r#"[{{"id":"disk0","shutting-down":{is_ending}}}]"#);
                let deleted = r#"{"event":"BLOCK_EXPORT_DELETED","data":{"id":"disk0"}}"#;
                let deleted = is_ending.then(|| format!("{deleted}\n"));
                returns(id, &list) + &deleted.unwrap_or_default()
            }
            _ => done(id),
        });
        let qmp = Qmp::negotiate(stream, soon()).unwrap();
        let mut hotplug = Stage::new().hotplug;
        hotplug
            .export(&qmp, &disk("disk0"), &Placement::MainLoop, soon())
            .unwrap();
        let closed = hotplug.close_node(&qmp, &id(), at_once());
        let is_refused = matches!(
            &closed,
            Err(DetachError::Failed {
                step: Step::BlockExportDel,
                source: QmpError::Refused { .. },
                ..
            })
        );
        assert_eq!(
            (closed.is_ok(), is_refused),
            (is_ending, !is_ending),
            "{closed:?}"
        );
    }
}

/// A guest that never finds a disk, and a QEMU that then does not hear `device_del`.
#[test]
fn rollback_ends_at_the_attach_deadline() {
    let stream = peer(|name, id| match name {
        "device_del" => String::new(),
        _ => done(id),
    });
    let qmp = Qmp::negotiate(stream, soon()).unwrap();
    let mut stage = Stage::new();
    let guest = Slow(usize::MAX.into());
    let span = Duration::from_secs(2);
    let start = Instant::now();
    let attached = stage.hotplug.attach(
        &qmp,
        &guest,
        &disk("disk0"),
        &Placement::First,
        Deadline::after(span),
    );
    let took = start.elapsed();
    assert!(attached.unwrap_err().rollback.is_err());
    assert!(took < span * 3 / 2, "{took:?}");
    // QEMU was asked, and `process_unplug_events` goes on from there.
    assert_eq!(
        stage.hotplug.state_of(&name("disk0")),
        Some(DiskState::RemovalPending)
    );
}

/// A guest that still sees a disk which QEMU has removed.
struct Late;

impl Guest for Late {
    fn await_present(&self, _: &GuestDisk, _: Deadline) -> Result<(), GuestError> {
        Ok(())
    }

    fn await_absent(&self, _: &GuestDisk, _: Deadline) -> Result<(), GuestError> {
        Err("the old one is there".into())
    }
}

#[test]
fn replugged_disk_is_not_confused_with_the_previous_one() {
    let mut stage = Stage::new();
    let controller = ScsiController::new(name("scsi0"));
    let (hotplug, qmp) = (&mut stage.hotplug, &stage.qmp);
    hotplug
        .attach_controller(qmp, &controller, &Placement::First, soon())
        .unwrap();
    let error = hotplug
        .attach_on(qmp, &Late, &controller.id, &disk("hd0"), soon())
        .unwrap_err();
    assert_eq!(error.step, Step::AwaitAbsent, "{error}");
    assert!(error.rollback.is_ok());
    assert!(!stage.fake.has().devices.contains_key("hd0"));
}

#[test]
fn controller_with_pending_removal_refuses_disks() {
    let mut stage = Stage::new();
    let controller = ScsiController::new(name("scsi0"));
    let (hotplug, qmp) = (&mut stage.hotplug, &stage.qmp);
    hotplug
        .attach_controller(qmp, &controller, &Placement::First, soon())
        .unwrap();
    stage.fake.arm(0, Fault::NotHeard);
    hotplug.detach(qmp, &controller.id, at_once()).unwrap_err();
    let error = hotplug
        .attach_on(qmp, &Quick, &controller.id, &disk("hd0"), soon())
        .unwrap_err();
    let leaves = matches!(error.source, StepError::ControllerRemovalPending { .. });
    assert!(leaves, "{error}: {:?}", error.source);
    hotplug.detach(qmp, &controller.id, soon()).unwrap();
}

/// Its refusal says nothing of whether it is there, but the list of threads does.
#[test]
fn thread_stays_in_the_pool_if_object_del_fails() {
    let mut stage = Stage::new();
    let thread = IoThreadId::indep(1);
    stage.fake.arm(0, Fault::Refused);
    stage
        .hotplug
        .remove_thread(&stage.qmp, &thread)
        .unwrap_err();
    assert!(stage.hotplug.pool().threads().contains(&thread));
    assert_eq!(stage.hotplug.stray_threads().count(), 0);
    stage.hotplug.remove_thread(&stage.qmp, &thread).unwrap();
    // A thread that another client has deleted is removed from the pool too.
    let deleted = IoThreadId::indep(2);
    stage.fake.has().threads.remove(deleted.as_str());
    stage.hotplug.remove_thread(&stage.qmp, &deleted).unwrap();
    assert!(!stage.hotplug.pool().threads().contains(&deleted));
}

#[test]
fn names_that_are_too_long_are_refused_before_qemu_gets_a_command() {
    let mut stage = Stage::new();
    let place = Placement::First;
    let longest = "a".repeat(31);
    let heard = stage.fake.has().heard;
    let (hotplug, qmp) = (&mut stage.hotplug, &stage.qmp);
    let free = hotplug.pool().free_slots();
    let too_long = DiskSpec {
        serial: None,
        ..disk(&"a".repeat(32))
    };
    let refused = hotplug.attach(qmp, &Quick, &too_long, &place, soon());
    let error = refused.unwrap_err();
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert!(text.contains("31 bytes"), "{text}");
    // The guest would read a part of it.
    let refused = hotplug.attach(qmp, &Quick, &disk(&longest), &place, soon());
    let error = refused.unwrap_err();
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        text.contains(&format!("\"{longest}\" is too long")),
        "{text}"
    );
    assert_eq!(stage.fake.has().heard, heard);
    assert_eq!(hotplug.pool().free_slots(), free);
    let disk = DiskSpec {
        serial: None,
        ..disk(&longest)
    };
    hotplug.attach(qmp, &Quick, &disk, &place, soon()).unwrap();
}
