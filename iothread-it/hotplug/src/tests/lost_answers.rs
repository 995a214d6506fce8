//! **Scope**: each operation, with a fault at each of its commands. Whatever QEMU has afterwards is
//! known here, its threads cannot be given away, and once the trouble is over all of it goes.

use super::fake::{Fake, Fault};
use super::*;

/// An operation that a fault is to strike.
type Operation = fn(&mut Hotplug, &Qmp, Deadline) -> Result<(), anyhow::Error>;

const THREADS: usize = 3;

pub(super) struct Stage {
    pub(super) fake: Fake,
    pub(super) hotplug: Hotplug,
    pub(super) qmp: Qmp,
}

impl Stage {
    pub(super) fn new() -> Self {
        let threads: Vec<_> = (0..THREADS).map(IoThreadId::indep).collect();
        let fake = Fake::with_threads(threads.iter().map(ToString::to_string));
        let qmp = fake.connect();
        let pool = Pool::new(threads, SlotTable::root_ports(4)).unwrap();
        let options = options();
        let hotplug = Hotplug::new(pool, options, QemuVersion::MAPS_SCSI_QUEUES);
        Self { fake, hotplug, qmp }
    }

    fn run(&mut self, operation: Operation, deadline: Deadline) -> Result<(), anyhow::Error> {
        operation(&mut self.hotplug, &self.qmp, deadline)
    }

    /// Checks that all that QEMU has is known, and that no thread in use can be given away.
    fn nothing_is_forgotten(&self) {
        let (has, pool) = (self.fake.has(), self.hotplug.pool());
        let known = |id: &String| pool.allocation_of(&name(id)).is_some();
        for id in has.nodes.keys().chain(has.devices.keys()) {
            assert!(known(id), "{id} is forgotten");
        }
        for (id, thread) in has.users() {
            let thread = pool.threads().iter().find(|t| t.as_str() == thread);
            let thread = thread.unwrap_or_else(|| panic!("the thread of {id} is out of the pool"));
            let served = pool.served_by(thread).any(|served| *served == name(&id));
            assert!(served, "{id} is on {thread}, and the pool has it elsewhere");
            assert!(
                pool.clone().remove_thread(thread).is_err(),
                "{thread} of {id}"
            );
        }
        assert!(has.deleted_in_use.is_empty(), "{:?}", has.deleted_in_use);
        for thread in &has.threads {
            let mut known = pool.threads().iter().chain(self.hotplug.stray_threads());
            assert!(known.any(|known| known.as_str() == thread), "{thread}");
        }
    }

    /// Takes away all that is left.
    fn recovers(&mut self) {
        self.qmp = self.fake.connect();
        for id in ["disk0", "hd0", "scsi0", "balloon0", "node0", "export0"].map(name) {
            match self.hotplug.pool().allocation_of(&id) {
                Some(Allocation::Thread(_)) => self.hotplug.close_node(&self.qmp, &id, soon()),
                Some(_) => self.hotplug.detach(&self.qmp, &id, soon()),
                None => Ok(()),
            }
            .unwrap();
        }
        let stray: Vec<_> = self.hotplug.stray_threads().cloned().collect();
        for thread in stray {
            self.hotplug.remove_thread(&self.qmp, &thread).unwrap();
        }
        let has = self.fake.has();
        let threads = self.hotplug.pool().threads().iter();
        let threads: Vec<_> = threads.map(IoThreadId::as_str).collect();
        assert!(
            has.threads.iter().eq(&threads),
            "{threads:?}: {:?}",
            has.threads
        );
        assert!(has.nodes.is_empty() && has.devices.is_empty() && has.exports.is_empty());
        let pool = self.hotplug.pool();
        for thread in pool.threads() {
            assert_eq!(pool.served_by(thread).count(), 0, "{}", pool.state());
        }
        assert_eq!(pool.free_slots(), 4);
    }
}

pub(super) fn name(id: impl AsRef<str>) -> DeviceId {
    DeviceId::new(id.as_ref()).unwrap()
}

pub(super) fn disk(id: &str) -> DiskSpec {
    DiskSpec::new(name(id), "/image")
}

/// Strikes each command of an operation with each fault.
fn strikes(before: &[Operation], operation: Operation) {
    let prepared = || {
        let mut stage = Stage::new();
        for step in before {
            stage.run(*step, soon()).unwrap();
        }
        stage.fake.has().heard = 0;
        stage
    };
    let mut undisturbed = prepared();
    undisturbed.run(operation, soon()).unwrap();
    let commands = undisturbed.fake.has().heard;
    assert!(commands > 0, "nothing can be disturbed");
    for fault in Fault::ALL {
        for command in 0..commands {
            let mut stage = prepared();
            stage.fake.arm(command, fault);
            let outcome = stage.run(operation, Deadline::after(Duration::from_millis(50)));
            eprintln!(
                "{fault:?} at command {command}: {:?}",
                outcome.map_err(|e| e.to_string())
            );
            stage.fake.disarm();
            stage.nothing_is_forgotten();
            stage.recovers();
        }
    }
}

const ATTACH: Operation = |hotplug, qmp, by| {
    let place = Placement::Dedicated;
    hotplug.attach(qmp, &Quick, &disk("disk0"), &place, by)?;
    Ok(())
};

const CONTROLLER: Operation = |hotplug, qmp, by| {
    let controller = ScsiController::new(name("scsi0"));
    hotplug.attach_controller(qmp, &controller, &Placement::Dedicated, by)?;
    Ok(())
};

const ATTACH_ON: Operation = |hotplug, qmp, by| {
    hotplug.attach_on(qmp, &Quick, &name("scsi0"), &disk("hd0"), by)?;
    Ok(())
};

const BALLOON: Operation = |hotplug, qmp, by| {
    hotplug.attach_balloon(qmp, &name("balloon0"), &Placement::Dedicated, by)?;
    Ok(())
};

const OPEN: Operation = |hotplug, qmp, by| {
    let place = Placement::Pinned(IoThreadId::indep(0));
    hotplug.open_node(qmp, &disk("node0"), &place, by)?;
    Ok(())
};

const MOVE: Operation = |hotplug, qmp, by| {
    let place = Placement::Pinned(IoThreadId::indep(1));
    hotplug.move_node(qmp, &name("node0"), &place, by)?;
    Ok(())
};

const EXPORT: Operation = |hotplug, qmp, by| {
    hotplug.export(qmp, &disk("export0"), &Placement::Dedicated, by)?;
    Ok(())
};

#[test]
fn a_virtio_blk_disk() {
    strikes(&[], ATTACH);
    strikes(&[ATTACH], |h, qmp, by| {
        Ok(h.detach(qmp, &name("disk0"), by)?)
    });
    strikes(&[ATTACH], |h, qmp, by| {
        let place = Placement::Pinned(IoThreadId::indep(2));
        h.move_disk(qmp, &Quick, &disk("disk0"), &place, by)?;
        Ok(())
    });
}

#[test]
fn a_scsi_controller_and_its_disk() {
    strikes(&[], CONTROLLER);
    strikes(&[CONTROLLER], |h, qmp, by| {
        Ok(h.detach(qmp, &name("scsi0"), by)?)
    });
    strikes(&[CONTROLLER], ATTACH_ON);
    strikes(&[CONTROLLER, ATTACH_ON], |h, qmp, by| {
        Ok(h.detach(qmp, &name("hd0"), by)?)
    });
}

#[test]
fn a_balloon() {
    strikes(&[], BALLOON);
    strikes(&[BALLOON], |h, qmp, by| {
        Ok(h.detach(qmp, &name("balloon0"), by)?)
    });
}

#[test]
fn a_node_without_a_device() {
    strikes(&[], OPEN);
    strikes(&[OPEN], MOVE);
    strikes(&[OPEN], |h, qmp, by| {
        Ok(h.close_node(qmp, &name("node0"), by)?)
    });
}

#[test]
fn an_export() {
    strikes(&[], EXPORT);
    strikes(&[EXPORT], |h, qmp, by| {
        Ok(h.close_node(qmp, &name("export0"), by)?)
    });
}

#[test]
fn a_thread() {
    strikes(&[], |h, qmp, _| {
        h.add_thread(qmp, Polling::default())?;
        Ok(())
    });
    strikes(&[], |h, qmp, _| {
        Ok(h.remove_thread(qmp, &IoThreadId::indep(1))?)
    });
}
