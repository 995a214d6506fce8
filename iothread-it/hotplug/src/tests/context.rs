//! **Scope**: the records that operations share, and the texts of errors.

use std::collections::BTreeSet;

use qmp_client::Capabilities;

use super::*;
use crate::action::{Action, GuestAddress, GuestDisk, OperationId, Presence, QuestionId};
use crate::context::{Core, Wait};
use crate::state::{Device, News, Subject};

const FIRST: &str = "disk0";
const SECOND: &str = "disk1";

fn device_id(id: &str) -> DeviceId {
    DeviceId::new(id).unwrap()
}

/// Two attached disks, made one after the other. An operation works on the second.
fn core() -> Core {
    let pool = Pool::new(vec![IoThreadId::indep(0)], SlotTable::root_ports(2)).unwrap();
    let mut core = Core::new(pool, options(), Capabilities::new(QemuVersion::OLDEST));
    for id in [FIRST, SECOND] {
        let since = core.next();
        let device = Device::new(DiskState::Attached, None, "{}".into(), since);
        core.devices.insert(device_id(id), device);
    }
    let subject = Subject::Device(device_id(SECOND));
    core.busy.insert(subject, OperationId(1));
    core
}

#[test]
fn a_list_is_about_devices_that_were_made_before_it_was_asked_for() {
    let mut core = core();
    let asked = core.devices[&device_id(SECOND)].since;
    core.note_listed(&BTreeSet::new(), asked);
    assert_eq!(core.devices[&device_id(FIRST)].news, Some(News::Unlisted));
    assert_eq!(core.devices[&device_id(SECOND)].news, None);
}

/// The event is of the device that had the id before, whose memory was not free yet when that was listed no more.
#[test]
fn a_late_event_about_an_earlier_device_does_not_remove_the_next_one() {
    let mut core = core();
    let id = device_id(SECOND);
    let asked = core.next();
    core.note_listed(&[SECOND.to_owned()].into(), asked);
    let device = core.devices.get_mut(&id).unwrap();
    device.note_event(News::Deleted);
    assert!(!device.is_gone() && device.unsure);
    device.note_listed(false);
    assert!(device.is_gone());
}

#[test]
fn a_missed_list_is_read_for_devices_without_an_operation() {
    let mut core = core();
    assert!(core.is_busy(&device_id(SECOND)) && !core.is_busy(&device_id(FIRST)));
    core.note_missed_list();
    let unsure = [FIRST, SECOND].map(|id| core.devices[&device_id(id)].unsure);
    assert_eq!(unsure, [true, false]);
}

#[test]
fn a_forgotten_question_is_not_asked() {
    let mut core = core();
    let disk = GuestDisk {
        id: id(),
        serial: None,
        address: GuestAddress::Scsi {
            controller: SlotTable::root_ports(1).all()[0].clone(),
            target: 0,
            lun: 0,
        },
    };
    for number in [1, 2] {
        core.actions.push_back(Action::AskGuest {
            id: QuestionId(number),
            disk: disk.clone(),
            awaited: Presence::Present,
        });
    }
    core.forget_question(Wait::Event);
    core.forget_question(Wait::Answer(QuestionId(1)));
    let left: Vec<_> = core.actions.iter().collect();
    assert!(
        matches!(
            left[..],
            [Action::AskGuest {
                id: QuestionId(2),
                ..
            }]
        ),
        "{left:?}"
    );
}

#[test]
fn the_newest_events_are_named() {
    let mut core = core();
    assert_eq!(core.event_names(), "none");
    for event in ["RESUME", "DEVICE_DELETED"] {
        core.newest_events.push_back(event.to_owned());
    }
    assert_eq!(core.event_names(), "RESUME, DEVICE_DELETED");
}

#[test]
fn of_a_refused_device_whose_node_stays_the_node_is_left() {
    let (mut hotplug, qmp) = attached(|name, before, id| match (name, before) {
        ("device_del", 0) => Some(done(id) + &event("DEVICE_DELETED", "disk0")),
        ("device_add", 1) | ("blockdev-del", 1) => Some(refuses(id, "GenericError", "no")),
        ("query-named-block-nodes", _) => Some(returns(
            id,
            r#"[{"node-name":"disk0","drv":"raw","ro":false,"file":"/image"}]"#,
        )),
        _ => None,
    });
    hotplug.detach(&qmp, &id(), soon()).unwrap();
    let disk = DiskSpec::new(id(), "/image");
    let error = hotplug
        .attach(&qmp, &Quick, &disk, &Placement::First, soon())
        .unwrap_err();
    keeps(&hotplug, DiskState::NodeOnly);
    let text = error.to_string();
    let start = "attach of `disk0` failed at device_add, and the rollback is not complete (";
    assert!(text.starts_with(start), "{text}");
}

#[test]
fn a_serial_of_twenty_characters_is_taken() {
    let mut disk = DiskSpec::new(id(), "/image");
    for (length, is_taken) in [(20, true), (21, false)] {
        disk.serial = Some("s".repeat(length));
        assert_eq!(disk.check_serial().is_ok(), is_taken, "{length}");
    }
}

#[test]
fn a_file_has_the_driver_for_files() {
    let node = DiskSpec::new(id(), "/dev/null").node(&options()).unwrap();
    assert!(node.to_string().contains(r#""driver":"file""#), "{node}");
}

#[test]
fn errors_say_what_is_left() {
    let failed = || {
        Box::new(AttachError {
            device: id(),
            step: Step::DeviceAdd,
            source: StepError::Ejected { times: 3 },
            rollback: Ok(()),
        })
    };
    assert_eq!(
        failed().to_string(),
        "attach of `disk0` failed at device_add"
    );
    let error = |back| MoveError::Attach {
        source: failed(),
        back,
    };
    let start = "cannot attach the disk to its new IOThreads; ";
    assert_eq!(
        error(Err(failed())).to_string(),
        format!("{start}nor to its former ones (attach of `disk0` failed at device_add)")
    );
    let mut pool = Pool::new(vec![IoThreadId::indep(0)], SlotTable::root_ports(1)).unwrap();
    let lease = pool.lease(&id(), 1, &Placement::First).unwrap();
    let slot = lease.slot.to_string();
    assert_eq!(
        error(Ok(lease)).to_string(),
        format!("{start}it is attached to its former ones, in slot {slot}")
    );
}
