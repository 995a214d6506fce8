//! **Scope**: the driver for tokio against the model of QEMU, with a paused clock: many operations at once,
//! futures that are dropped, connections that end, a state that cannot be kept.

use std::collections::BTreeSet;
use std::future::{Future, pending};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use qmp_client::Request;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{sleep, timeout};

use super::model::Qemu;
use super::*;
use crate::tokio::{Driver, Hotplug, Incoming, Stopped, Vm, drive};
use crate::{Answer, Presence, Saved};

const DISKS: usize = 16;
/// How long QEMU and the guest take.
const REPLY: Duration = Duration::from_millis(10);
const RELEASE: Duration = Duration::from_millis(500);

/// QEMU and its guest, which stay while connections come and go.
#[derive(Clone)]
struct Machine {
    qemu: Arc<Mutex<Qemu>>,
    events: Arc<Mutex<mpsc::UnboundedSender<Incoming>>>,
    /// The devices that the guest never releases.
    stuck: Arc<Mutex<BTreeSet<String>>>,
    commands: Arc<Mutex<Vec<&'static str>>>,
    /// Whether the guest answers no question.
    silent: Arc<AtomicBool>,
    /// The questions to the guest, which live as long as their futures.
    questions: Arc<Mutex<Vec<Weak<()>>>>,
}

struct Connection {
    machine: Machine,
    events: mpsc::UnboundedReceiver<Incoming>,
    /// What was saved last, and whether it can be.
    saved: Option<Saved>,
    saves: bool,
}

impl Machine {
    fn new(threads: usize) -> Self {
        let threads = (0..threads).map(|n| IoThreadId::indep(n).to_string());
        Self {
            qemu: Arc::new(Mutex::new(Qemu::with_threads(threads))),
            events: Arc::new(Mutex::new(mpsc::unbounded_channel().0)),
            stuck: Arc::default(),
            commands: Arc::default(),
            silent: Arc::default(),
            questions: Arc::default(),
        }
    }

    fn open_questions(&self) -> usize {
        let questions = self.questions.lock().unwrap();
        questions
            .iter()
            .filter(|one| one.strong_count() > 0)
            .count()
    }

    fn connect(&self) -> Connection {
        let (sender, events) = mpsc::unbounded_channel();
        *self.events.lock().unwrap() = sender;
        Connection {
            machine: self.clone(),
            events,
            saved: None,
            saves: true,
        }
    }

    fn tell(&self, incoming: Incoming) {
        drop(self.events.lock().unwrap().send(incoming));
    }

    async fn release(self, id: String) {
        sleep(RELEASE).await;
        if !self.stuck.lock().unwrap().contains(&id) {
            self.let_go(&id);
        }
    }

    fn let_go(&self, id: &str) {
        let events = self.qemu.lock().unwrap().remove(id);
        events
            .into_iter()
            .for_each(|e| self.tell(Incoming::Event(e)));
    }

    fn is_empty(&self) -> bool {
        let qemu = self.qemu.lock().unwrap();
        assert!(qemu.violations.is_empty(), "{:?}", qemu.violations);
        qemu.is_empty()
    }
}

impl Vm for Connection {
    fn send(
        &mut self,
        command: Request,
    ) -> impl Future<Output = Result<Value, QmpError>> + Send + use<> + 'static {
        let (name, arguments) = (command.name(), command.arguments());
        self.machine.commands.lock().unwrap().push(name);
        let (reply, events) = self.machine.qemu.lock().unwrap().run(name, arguments);
        if name == "device_del" && reply.is_ok() {
            let id = arguments["id"].as_str().unwrap().to_owned();
            tokio::spawn(self.machine.clone().release(id));
        }
        events
            .into_iter()
            .for_each(|e| self.machine.tell(Incoming::Event(e)));
        async move {
            sleep(REPLY).await;
            reply
        }
    }

    async fn next_event(&mut self) -> Incoming {
        let closed = || Incoming::Closed("it was closed".into());
        self.events.recv().await.unwrap_or_else(closed)
    }

    fn look(
        &mut self,
        disk: GuestDisk,
        awaited: Presence,
    ) -> impl Future<Output = Answer> + Send + use<> + 'static {
        let qemu = self.machine.qemu.clone();
        let silent = self.machine.silent.clone();
        let question = Arc::new(());
        let mut questions = self.machine.questions.lock().unwrap();
        questions.push(Arc::downgrade(&question));
        async move {
            let _open = question;
            sleep(REPLY).await;
            if silent.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
            match (awaited, qemu.lock().unwrap().has_device(disk.id.as_str())) {
                (Presence::Present, true) | (Presence::Absent, false) => Answer::Yes,
                _ => Answer::NotYet("it is not so".into()),
            }
        }
    }

    async fn save(&mut self, state: Saved) -> std::io::Result<()> {
        sleep(Duration::from_millis(1)).await;
        self.saved = Some(state);
        self.saves
            .then_some(())
            .ok_or_else(|| std::io::Error::other("the disk is full"))
    }
}

fn set_up() -> (Machine, Hotplug, Driver) {
    let threads: Vec<_> = (0..2).map(IoThreadId::indep).collect();
    let pool = Pool::new(threads, SlotTable::root_ports(DISKS)).unwrap();
    let machine = crate::Hotplug::new(pool, options(), QemuVersion::OLDEST);
    let (hotplug, driver) = drive(machine);
    (Machine::new(2), hotplug, driver)
}

/// Begins to serve a connection until it ends.
async fn serve(machine: &Machine, mut driver: Driver) -> JoinHandle<(Driver, Stopped)> {
    let mut connection = machine.connect();
    let served = tokio::spawn(async move {
        let stopped = driver.serve(&mut connection).await;
        (driver, stopped)
    });
    yield_now().await;
    served
}

fn name(n: usize) -> DeviceId {
    DeviceId::new(format!("disk{n}")).unwrap()
}

const GRANTED: Duration = Duration::from_secs(30);

async fn attach(hotplug: Hotplug, n: usize) -> Result<Lease, AttachError> {
    let start = move |m: &mut crate::Hotplug, now: Instant| {
        let (disk, by) = (
            DiskSpec::new(name(n), "/image"),
            Deadline::starting(now, GRANTED),
        );
        m.attach(&disk, &Placement::RoundRobin, by, now)
    };
    hotplug.run(start).await
}

async fn detach(hotplug: Hotplug, n: usize) -> Result<(), DetachError> {
    let start = move |m: &mut crate::Hotplug, now: Instant| {
        m.detach(&name(n), Deadline::starting(now, GRANTED), now)
    };
    hotplug.run(start).await
}

async fn settle(hotplug: &Hotplug) -> UnplugProgress {
    let start =
        |m: &mut crate::Hotplug, now: Instant| m.settle(Deadline::starting(now, GRANTED), now);
    hotplug.run(start).await.unwrap()
}

/// How long it takes to attach disks and detach them, all at the same time.
async fn cycle(hotplug: &Hotplug, disks: std::ops::Range<usize>) -> Duration {
    let start = tokio::time::Instant::now();
    let each = disks.map(|n| {
        let hotplug = hotplug.clone();
        tokio::spawn(async move {
            attach(hotplug.clone(), n).await.unwrap();
            detach(hotplug, n).await.unwrap();
        })
    });
    for disk in each.collect::<Vec<_>>() {
        disk.await.unwrap();
    }
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn one_that_is_never_answered_delays_no_other() {
    let (machine, hotplug, driver) = set_up();
    let _served = serve(&machine, driver).await;
    let alone = cycle(&hotplug, 1..DISKS).await;
    machine.stuck.lock().unwrap().insert("disk0".into());
    attach(hotplug.clone(), 0).await.unwrap();
    let stuck = tokio::spawn(detach(hotplug.clone(), 0));
    let beside = cycle(&hotplug, 1..DISKS).await;
    assert!(beside < alone * 3 / 2, "{beside:?}, and {alone:?} without");
    assert!(alone < RELEASE * 3, "they run at once: {alone:?}");
    let error = stuck.await.unwrap().unwrap_err();
    assert!(matches!(error, DetachError::Pending { .. }), "{error}");
    assert_eq!(hotplug.look(|m| m.pool().free_slots()), DISKS - 1);
    machine.let_go("disk0");
    yield_now().await;
    assert_eq!(settle(&hotplug).await.removed, [name(0)]);
    assert!(machine.is_empty());
}

#[tokio::test(start_paused = true)]
async fn dropped_future_leaves_a_pending_removal() {
    let (machine, hotplug, driver) = set_up();
    let _served = serve(&machine, driver).await;
    attach(hotplug.clone(), 0).await.unwrap();
    let cut = timeout(REPLY * 3, detach(hotplug.clone(), 0)).await;
    assert!(cut.is_err());
    let state = hotplug.look(|m| (m.state_of(&name(0)), m.operations().count()));
    assert_eq!(state, (Some(DiskState::RemovalPending), 0));
    sleep(RELEASE).await;
    assert_eq!(settle(&hotplug).await.removed, [name(0)]);
    assert!(machine.is_empty());
}

#[tokio::test(start_paused = true)]
async fn questions_of_ended_operations_are_dropped() {
    let (machine, hotplug, driver) = set_up();
    let _served = serve(&machine, driver).await;
    machine.silent.store(true, Ordering::Relaxed);
    let cut = timeout(REPLY * 10, attach(hotplug.clone(), 0));
    let (late, cut) = tokio::join!(attach(hotplug.clone(), 1), cut);
    assert!(late.is_err() && cut.is_err());
    yield_now().await;
    assert_eq!(machine.questions.lock().unwrap().len(), 2);
    assert_eq!(machine.open_questions(), 0);
}

#[tokio::test(start_paused = true)]
async fn lost_connection_is_resumed() {
    let (machine, hotplug, driver) = set_up();
    let served = serve(&machine, driver).await;
    attach(hotplug.clone(), 0).await.unwrap();
    let (first, second) = (detach(hotplug.clone(), 0), attach(hotplug.clone(), 1));
    let lost = async {
        sleep(REPLY * 5 / 2).await;
        machine.tell(Incoming::Closed("it broke".into()));
    };
    let (first, second, ()) = tokio::join!(first, second, lost);
    assert!(
        matches!(first, Err(DetachError::Failed { .. })),
        "{first:?}"
    );
    assert!(
        matches!(
            second,
            Err(AttachError {
                rollback: Err(_),
                ..
            })
        ),
        "{second:?}"
    );
    let (driver, stopped) = served.await.unwrap();
    assert_eq!(
        stopped.to_string(),
        "the connection to QEMU has ended: it broke"
    );
    // Without a connection an operation ends at once.
    let refused = detach(hotplug.clone(), 0).await.unwrap_err();
    assert!(matches!(refused, DetachError::Failed { .. }), "{refused}");
    sleep(RELEASE).await;
    let _served = serve(&machine, driver).await;
    detach(hotplug.clone(), 0).await.unwrap();
    detach(hotplug.clone(), 1).await.unwrap();
    assert!(machine.is_empty());
    assert_eq!(hotplug.look(|m| m.pool().free_slots()), DISKS);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_whose_record_cannot_be_kept() {
    let (machine, hotplug, mut driver) = set_up();
    let mut connection = machine.connect();
    connection.saves = false;
    let (error, stopped) = tokio::join!(attach(hotplug.clone(), 0), driver.serve(&mut connection));
    assert!(matches!(stopped, Stopped::NotSaved(_)));
    assert_eq!(error.unwrap_err().step, Step::BlockdevAdd);
    assert!(machine.commands.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn state_is_kept_before_an_operation_ends() {
    let (machine, hotplug, mut driver) = set_up();
    let mut connection = machine.connect();
    let ends = async {
        attach(hotplug.clone(), 0).await.unwrap();
        detach(hotplug.clone(), 0).await.unwrap();
    };
    tokio::select! {
        biased;
        () = ends => {}
        stopped = driver.serve(&mut connection) => panic!("{stopped}"),
    }
    let saved = connection.saved.expect("it was saved");
    let restored = crate::Hotplug::restore(saved, options(), QemuVersion::OLDEST);
    assert_eq!(restored.pool().free_slots(), DISKS);
}

#[tokio::test(start_paused = true)]
async fn operations_end_with_the_driver() {
    let (_, hotplug, driver) = set_up();
    let attaching = tokio::spawn(attach(hotplug.clone(), 0));
    yield_now().await;
    drop(driver);
    assert_eq!(
        attaching.await.unwrap().unwrap_err().step,
        Step::BlockdevAdd
    );
}

/// Many operations whose futures are dropped at some moment, over connections that end at some moment.
#[tokio::test(start_paused = true)]
async fn nothing_is_lost_at_any_moment() {
    for seed in 1..50_u64 {
        let (machine, hotplug, mut driver) = set_up();
        let after = |n: u64| Duration::from_micros((seed * 7919 + n * 104_729) % 700_000);
        for round in 0..4 {
            let served = serve(&machine, driver).await;
            let operations = (0..DISKS).map(|n| {
                let hotplug = hotplug.clone();
                let both = async move {
                    drop(attach(hotplug.clone(), n).await);
                    drop(detach(hotplug, n).await);
                };
                tokio::spawn(timeout(after(round * 16 + n as u64), both))
            });
            let operations: Vec<_> = operations.collect();
            sleep(after(round + 100)).await;
            machine.tell(Incoming::Closed("it broke".into()));
            for operation in operations {
                drop(operation.await.unwrap());
            }
            driver = served.await.unwrap().0;
        }
        let _served = serve(&machine, driver).await;
        for n in 0..DISKS {
            if hotplug.look(|m| m.pool().allocation_of(&name(n)).is_some()) {
                detach(hotplug.clone(), n).await.unwrap();
            }
        }
        assert!(machine.is_empty(), "seed {seed}");
        assert_eq!(
            hotplug.look(|m| m.pool().free_slots()),
            DISKS,
            "seed {seed}"
        );
    }
}
