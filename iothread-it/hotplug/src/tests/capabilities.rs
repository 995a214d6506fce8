//! **Scope**: what an operation needs of this QEMU, and what it does where QEMU lacks it.

use std::num::NonZeroUsize;
use std::time::Instant;

use qmp_client::capabilities::Unsupported;

use super::lost_answers::{Stage, disk, name};
use super::many::Bench;
use super::*;
use crate::Outcome;

const SPREAD: Placement = Placement::Spread(NonZeroUsize::MIN);

fn controller() -> ScsiController {
    ScsiController::new(name("scsi0"))
}

/// The error of a mapped controller, where QEMU refuses to list the properties of its type.
fn where_properties_are_refused_with(class: &'static str) -> StepError {
    let qmp = Qmp::negotiate(peer(move |_, id| refuses(id, class, "no")), soon()).unwrap();
    let mut hotplug = Stage::new().hotplug;
    let attached = hotplug.attach_controller(&qmp, &controller(), &SPREAD, soon());
    attached.unwrap_err().source
}

#[test]
fn a_type_that_qemu_does_not_have_is_told_from_another_refusal() {
    let missing = where_properties_are_refused_with("DeviceNotFound");
    assert!(
        matches!(missing, StepError::Unsupported(Unsupported::Device { .. })),
        "{missing:?}"
    );
    let refused = where_properties_are_refused_with("GenericError");
    assert!(
        matches!(refused, StepError::Qmp(QmpError::Refused { .. })),
        "{refused:?}"
    );
}

/// The fake QEMU drops every mapping, as 9.1 does.
#[test]
fn a_controller_whose_mapping_was_dropped_is_detached() {
    let mut stage = Stage::new();
    let (hotplug, qmp) = (&mut stage.hotplug, &stage.qmp);
    let error = hotplug
        .attach_controller(qmp, &controller(), &SPREAD, soon())
        .unwrap_err();
    assert_eq!(error.step, Step::VerifyVqMapping, "{error}");
    assert!(error.rollback.is_ok() && stage.fake.has().devices.is_empty());
}

/// QEMU 7.2 crashes if the client of an export on a thread disconnects.
#[test]
fn an_old_qemu_exports_in_the_main_loop_only_and_still_moves_nodes() {
    let mut bench = Bench::with_disks(&[]);
    bench.with_node("node0");
    let (by, now) = (soon(), Instant::now());
    for place in [Placement::First, Placement::MainLoop] {
        bench.machine.export(&disk("export0"), &place, by, now);
        let Some(Outcome::Attach(exported)) = bench.outcome() else {
            panic!("{place:?}");
        };
        match exported {
            Ok(_) => assert_eq!(place, Placement::MainLoop),
            Err(AttachError { source, .. }) => {
                let expected = StepError::Unsupported(Unsupported::ExportOnThread {
                    qemu: QemuVersion::OLDEST,
                });
                assert_eq!(source.to_string(), expected.to_string());
                assert_eq!(place, Placement::First);
            }
        }
    }
}
